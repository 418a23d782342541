//! What a job with a name says of itself, and how it reads the settings that a spec gives it.
//!
//! A job declares its options by name with a line of help each. What it did not declare, and what
//! it cannot read, is refused with the list of those that exist, before any input is opened. The
//! help of the command line comes from the same declarations.

use crate::builtin::passes::Passes;
use crate::cluster::sent::OwnFile;
use crate::error::JobError;
use crate::job::Job;
use crate::spec::JobSpec;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A job that is chosen by its name and built from its options: every built-in one, and those that a
/// program knows beside them, see [`Jobs`](crate::Jobs).
pub trait NamedJob: Job {
    /// Its name: what specs call it.
    const NAME: &'static str;
    /// A line for people: what it does and what a line of its output holds.
    const ABOUT: &'static str;
    /// The options it reads, in the order in which they are shown.
    const OPTIONS: &'static [JobOption] = &[];
    /// Whether options that it does not declare are given to it, too.
    const TAKES_ANY_OPTION: bool = false;
    /// Whether people are told of it; a pass of a larger job is not for them.
    const IS_SHOWN: bool = true;

    /// The job as these options want it.
    fn from_options(options: &Options<'_>) -> Result<Self, JobError>;

    /// Fills in what the spec leaves open and the job needs to be otherwise than most.
    fn prepare(spec: &mut JobSpec) -> Result<(), JobError> {
        let _ = spec;
        Ok(())
    }

    /// The files beside its inputs that the job needs where it runs, but for those that all nodes see. On a
    /// cluster they are in [`JobSpec::at_hand`] when a task runs, not yet when the job is checked or planned.
    fn own_files(spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
        let _ = spec;
        Ok(Vec::new())
    }

    /// The passes that the job takes with this spec, if one run of its functions is not all.
    fn passes(spec: &JobSpec) -> Result<Option<Box<dyn Passes>>, JobError> {
        let _ = spec;
        Ok(None)
    }
}

/// An option that a job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOption {
    /// Its name: what stands before `=`.
    pub name: &'static str,
    /// What its value is called in the help.
    pub value: &'static str,
    /// A line for people, with the default.
    pub help: &'static str,
}

impl JobOption {
    /// An option of this name.
    pub const fn new(name: &'static str, value: &'static str, help: &'static str) -> JobOption {
        JobOption { name, value, help }
    }
}

/// A line of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobInfo {
    /// See [`NamedJob::NAME`].
    pub name: &'static str,
    /// See [`NamedJob::ABOUT`].
    pub about: &'static str,
    /// See [`NamedJob::OPTIONS`].
    pub options: &'static [JobOption],
    /// See [`NamedJob::IS_SHOWN`].
    pub is_shown: bool,
}

impl JobInfo {
    /// What this job declares.
    pub const fn of<B: NamedJob>() -> JobInfo {
        JobInfo { name: B::NAME, about: B::ABOUT, options: B::OPTIONS, is_shown: B::IS_SHOWN }
    }
}

/// The options of a spec, as the job that it names sees them.
#[derive(Debug, Clone, Copy)]
pub struct Options<'s> {
    spec: &'s JobSpec,
    known: &'static [JobOption],
}

impl<'s> Options<'s> {
    /// Refuses options that job `B` does not declare.
    pub fn of<B: NamedJob>(spec: &'s JobSpec) -> Result<Options<'s>, JobError> {
        let options = Options { spec, known: B::OPTIONS };
        let known = |name: &String| B::OPTIONS.iter().any(|option| option.name == name);
        match spec.options.keys().find(|name| !known(name)) {
            Some(name) if !B::TAKES_ANY_OPTION => {
                let job = &spec.job;
                let what = match options.names() {
                    names if names.is_empty() => {
                        format!("job `{job}` has no option `{name}`: it has none")
                    }
                    names => format!("job `{job}` has no option `{name}`: it has {names}"),
                };
                Err(JobError::BadSpec { what })
            }
            _ => Ok(options),
        }
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.known.iter().map(|option| option.name).collect();
        names.join(", ")
    }

    /// The spec as a whole, for a job that depends on more than its options.
    pub fn spec(&self) -> &'s JobSpec {
        self.spec
    }

    /// An option as it was given.
    pub fn text(&self, name: &str) -> Option<&'s str> {
        self.spec.options.get(name).map(String::as_str)
    }

    /// A number within a range.
    pub fn number<N>(&self, name: &str, range: RangeInclusive<N>) -> Result<Option<N>, JobError>
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = range.into_inner();
                Err(self.bad(name, &format!("a number from {least} to {most}")))
            }
        }
    }

    /// `true` or `false`; `false` if it is not given.
    pub fn flag(&self, name: &str) -> Result<bool, JobError> {
        self.choice(name, &[("false", false), ("true", true)])
    }

    /// One of these words; the first if it is not given.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, JobError> {
        let Some(text) = self.text(name) else { return Ok(words[0].1) };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.bad(name, &words.join(" or "))
        })
    }

    /// A string of bytes, at least one, in which `\t`, `\n`, `\r`, `\0`, `\\` and `\xHH` stand for
    /// a byte each.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, JobError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match unescape(text.as_bytes()) {
            Some(bytes) if !bytes.is_empty() => Ok(Some(bytes)),
            _ => Err(self.bad(name, r"bytes, with \t, \n, \r, \0, \\ or \xHH for some")),
        }
    }

    /// The error for a value that cannot be used: says what would be right, and which options the
    /// job has.
    pub fn bad(&self, name: &str, wanted: &str) -> JobError {
        let (job, names) = (&self.spec.job, self.names());
        let what = match self.text(name) {
            Some(text) => format!("option `{name}` of job `{job}` is `{text}`, not {wanted}"),
            None => format!("job `{job}` needs option `{name}`: {wanted}"),
        };
        JobError::BadSpec { what: format!("{what} (its options are {names})") }
    }
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        bytes.push(match kind {
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                u8::try_from(digit(0)? * 16 + digit(1)?).expect("two hexadecimal digits")
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_stand_for_bytes_and_half_ones_are_refused() {
        assert_eq!(unescape(br"a\t\n\r\0\\\x7F\xff").unwrap(), b"a\t\n\r\0\\\x7f\xff");
        for text in [&br"\"[..], br"\q", br"\x", br"\x1", br"\xg0"] {
            assert_eq!(unescape(text), None);
        }
    }
}
