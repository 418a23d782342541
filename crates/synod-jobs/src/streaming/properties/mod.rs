//! The properties of a job, as Hadoop names and reads them.
//!
//! A property is stored under its present name, whatever name it was given by ([`aliases`]), so
//! that no two names can contradict each other. Values are kept as given; `${name}` in them is
//! replaced when they are read. [`known`] says which ones Synod heeds; the others reach the
//! command's environment and nothing else. [`conf_file`] reads files of properties.

pub mod aliases;
pub mod conf_file;
pub mod known;

use self::aliases::present_name;
use crate::error::JobError;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Replacements in one value; Hadoop's own limit. It ends values that name each other in a circle.
const MAX_REPLACEMENTS: usize = 20;

/// Properties by present name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
}

impl Properties {
    /// No property.
    pub fn new() -> Properties {
        Properties::default()
    }

    /// The properties in a job's options.
    pub fn of_options(options: &BTreeMap<String, String>) -> Properties {
        let mut properties = Properties::new();
        for (name, value) in options {
            properties.set(name, value.clone());
        }
        properties
    }

    /// Sets a property, under any of its names.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(present_name(name.trim()).to_owned(), value.into());
    }

    /// Sets a property unless it is there.
    pub fn set_if_missing(&mut self, name: &str, value: impl Into<String>) {
        self.values.entry(present_name(name).to_owned()).or_insert_with(|| value.into());
    }

    /// Removes the properties whose value is empty: Hadoop loses them on the way to its tasks, so that they
    /// mean nothing there.
    pub fn drop_empty(&mut self) {
        self.values.retain(|_, value| !value.is_empty());
    }

    /// Removes a property.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.values.remove(present_name(name))
    }

    /// The value as it was given.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(present_name(name)).map(String::as_str)
    }

    /// The value with its `${name}`s replaced.
    pub fn get(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| self.expand(value))
    }

    /// The value, or this one.
    pub fn get_or(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    /// A number, if the property is there; blanks around it do not matter.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, JobError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(JobError::BadSpec {
                what: format!("property {name}: `{value}` is not a number that it can be"),
            }),
        }
    }

    /// `true` or `false` in any case; anything else is the default, as in Hadoop.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => default,
        }
    }

    /// All properties by present name, ascending, values as given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As the options of a job.
    pub fn into_options(self) -> BTreeMap<String, String> {
        self.values
    }

    /// Replaces what only the submitter knows: `outside` is asked for each `${name}` that is no
    /// property, for example `${env.HOME}` and `${user.name}`.
    pub fn resolve_outside(&mut self, outside: &dyn Fn(&str) -> Option<String>) {
        let names: Vec<String> = self.values.keys().cloned().collect();
        for name in names {
            let value = &self.values[&name];
            let resolved = replace(value, &|inner| {
                if self.raw(inner).is_some() { None } else { outside(inner) }
            });
            if resolved != *value {
                self.values.insert(name, resolved);
            }
        }
    }

    fn expand(&self, value: &str) -> String {
        replace(value, &|name| self.raw(name).map(str::to_owned))
    }
}

/// Replaces each `${name}` that `lookup` knows; what it gives may hold further ones.
fn replace(value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = value.to_owned();
    for _ in 0..MAX_REPLACEMENTS {
        let Some((range, replacement)) = first_known(&text, lookup) else { break };
        text.replace_range(range, &replacement);
    }
    text
}

/// The first `${name}` that is known. A name has no blank, `$` or brace in it.
fn first_known(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Option<(std::ops::Range<usize>, String)> {
    for (start, _) in text.match_indices("${") {
        let name = &text[start + 2..];
        let Some(end) = name.find(['}', '$', ' ']) else { continue };
        if end == 0 || !name[end..].starts_with('}') {
            continue;
        }
        if let Some(replacement) = lookup(&name[..end]) {
            return Some((start..start + 2 + end + 1, replacement));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.set(name, *value);
        }
        properties
    }

    #[test]
    fn an_old_name_and_the_present_one_are_one_property() {
        let mut properties = properties(&[("mapred.reduce.tasks", "3")]);
        assert_eq!(properties.raw("mapreduce.job.reduces"), Some("3"));
        properties.set("mapreduce.job.reduces", "4");
        assert_eq!(properties.number("mapred.reduce.tasks").unwrap(), Some(4u32));
        assert_eq!(properties.iter().collect::<Vec<_>>(), [("mapreduce.job.reduces", "4")]);
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        let mut properties = properties(&[("a", ""), ("b", " "), ("c", "x")]);
        properties.drop_empty();
        assert_eq!(properties.iter().collect::<Vec<_>>(), [("b", " "), ("c", "x")]);
    }

    #[test]
    fn values_name_other_properties() {
        let properties = properties(&[
            ("base", "/data/${day}"),
            ("day", "monday"),
            ("in", "${base}/x ${unknown} ${} ${a b} $ {day} ${day"),
            ("circle", "${circle}"),
        ]);
        assert_eq!(
            properties.get("in").unwrap(),
            "/data/monday/x ${unknown} ${} ${a b} $ {day} ${day"
        );
        assert_eq!(properties.get("circle").unwrap(), "${circle}");
    }

    #[test]
    fn what_the_submitter_knows_is_replaced_once() {
        let mut properties = properties(&[("home", "${env.HOME}/${day}"), ("day", "${env.HOME}")]);
        properties.resolve_outside(&|name| (name == "env.HOME").then(|| "/home/a".to_owned()));
        assert_eq!(properties.raw("home"), Some("/home/a/${day}"));
        assert_eq!(properties.get("home").unwrap(), "/home/a//home/a");
    }

    #[test]
    fn numbers_and_flags_are_read_as_hadoop_does() {
        let properties = properties(&[("n", " 12 "), ("bad", "x"), ("yes", "TRUE"), ("odd", "1")]);
        assert_eq!(properties.number::<u64>("n").unwrap(), Some(12));
        assert_eq!(properties.number::<u64>("none").unwrap(), None);
        assert!(properties.number::<u64>("bad").is_err());
        assert!(properties.flag("yes", false));
        assert!(properties.flag("odd", true) && !properties.flag("odd", false));
    }
}
