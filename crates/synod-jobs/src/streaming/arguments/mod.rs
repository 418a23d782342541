//! Hadoop Streaming's argument list, as its users write it.
//!
//! Parsing ([`Arguments::parse`]) looks at the words alone. [`submission`] makes a job of them, for
//! which files have to be read; [`lint`] says what would not work elsewhere; [`usage`] is the help.
//! Words are taken as Hadoop's own parser takes them: options have one hyphen or two, an option with
//! several values takes all that follows up to the next option, and `-Dname=value` and
//! `-files=value` are one word.

pub mod lint;
pub mod notices;
pub mod options;
mod spec;
pub mod submission;
pub mod usage;

use options::{Arity, OptionKind, find};

/// Arguments taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Help was asked for.
    pub help: Option<Help>,
    /// Options in their order, by name, with their values.
    given: Vec<(&'static str, Vec<String>)>,
    /// What should be said but does not stop anything.
    pub warnings: Vec<String>,
}

/// Which help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    /// `-help`
    Short,
    /// `-info`
    Long,
}

/// What is wrong with the arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArguments {
    /// There is no such option.
    #[error("unrecognized option: {word}; try -help, or `synod streaming --help`")]
    Unknown {
        /// As it was written.
        word: String,
    },
    /// An option needs a value.
    #[error("missing argument for option: {name}; try -help")]
    NoValue {
        /// The option.
        name: &'static str,
    },
    /// Words that belong to no option.
    #[error("found {} unexpected arguments on the command line: {}; try -help", .words.len(), .words.join(" "))]
    Stray {
        /// The words.
        words: Vec<String>,
    },
}

impl Arguments {
    /// Takes the words apart.
    pub fn parse(words: &[String]) -> Result<Arguments, BadArguments> {
        let mut arguments = Arguments::default();
        let mut stray = Vec::new();
        let mut seen_specific = None;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let Some((option, attached)) = find(word) else {
                if word.starts_with('-') && word.len() > 1 {
                    return Err(BadArguments::Unknown { word: word.clone() });
                }
                stray.push(word.clone());
                continue;
            };
            match (option.kind, seen_specific) {
                (OptionKind::Generic, Some(specific)) => arguments.warnings.push(format!(
                    "-{} stands behind -{specific}: Hadoop wants generic options first",
                    option.name
                )),
                (OptionKind::Streaming, None) => seen_specific = Some(option.name),
                _ => {}
            }
            if let Some(instead) = option.instead {
                let warning = format!("-{} is deprecated: use {instead}", option.name);
                if !arguments.warnings.contains(&warning) {
                    arguments.warnings.push(warning);
                }
            }
            let mut values: Vec<String> = attached.map(unquoted).into_iter().collect();
            let most = match option.arity {
                Arity::None => 0,
                Arity::One => 1,
                Arity::Many => usize::MAX,
            };
            while values.len() < most
                && let Some(value) = words.get(at).filter(|word| find(word).is_none())
            {
                values.push(unquoted(value));
                at += 1;
            }
            if values.is_empty() && most > 0 {
                return Err(BadArguments::NoValue { name: option.name });
            }
            arguments.given.push((option.name, values));
        }
        if !stray.is_empty() {
            return Err(BadArguments::Stray { words: stray });
        }
        arguments.help = match (arguments.has("info"), arguments.has("help")) {
            (true, _) => Some(Help::Long),
            (false, true) => Some(Help::Short),
            (false, false) => None,
        };
        Ok(arguments)
    }

    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// All values of an option, in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.given.iter().filter(move |(given, _)| *given == name);
        of_name.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// The value of an option; of several the first, as in Hadoop.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }
}

/// The words without an option, wherever it stands, and without its values.
pub fn without(words: &[String], name: &str) -> Vec<String> {
    let mut left = Vec::with_capacity(words.len());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Some((option, attached)) = find(word).filter(|(option, _)| option.name == name) else {
            left.push(word.clone());
            continue;
        };
        let most = match option.arity {
            Arity::None => 0,
            Arity::One => usize::from(attached.is_none()),
            Arity::Many => usize::MAX,
        };
        let values = rest.as_slice().iter().take_while(|word| find(word).is_none());
        let values = values.take(most).count();
        rest = rest.as_slice()[values..].iter();
    }
    left
}

/// Without a pair of double quotes around the whole value, which shells may leave.
fn unquoted(value: impl AsRef<str>) -> String {
    let value = value.as_ref();
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, BadArguments> {
        Arguments::parse(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn all<'a>(arguments: &'a Arguments, name: &str) -> Vec<&'a str> {
        arguments.values(name).collect()
    }

    #[test]
    fn options_take_what_belongs_to_them() {
        let arguments = parse(&[
            "-D",
            "a=1",
            "-Db=2",
            "-files=x,y",
            "--input",
            "in1",
            "in2",
            "-input",
            "in3",
            "-output",
            "out",
            "-mapper",
            "python3 m.py -v",
            "-reducer",
            "-not-an-option",
            "-numReduceTasks",
            "3",
            "-lazyOutput",
            "-cmdenv",
            "A=b c",
        ])
        .unwrap();
        assert_eq!(all(&arguments, "D"), ["a=1", "b=2"]);
        assert_eq!(all(&arguments, "files"), ["x,y"]);
        assert_eq!(all(&arguments, "input"), ["in1", "in2", "in3"]);
        assert_eq!(arguments.value("mapper"), Some("python3 m.py -v"));
        assert_eq!(arguments.value("reducer"), Some("-not-an-option"));
        assert_eq!(arguments.value("cmdenv"), Some("A=b c"));
        assert!(arguments.has("lazyOutput") && !arguments.has("verbose"));
        assert!(arguments.warnings.is_empty(), "{:?}", arguments.warnings);
    }

    #[test]
    fn what_hadoop_refuses_is_refused() {
        let unknown = parse(&["-input", "a", "-output", "b", "-nonsense"]).unwrap_err();
        assert_eq!(unknown, BadArguments::Unknown { word: "-nonsense".to_owned() });
        assert_eq!(parse(&["-mapper"]), Err(BadArguments::NoValue { name: "mapper" }));
        assert_eq!(
            parse(&["-mapper", "-reducer", "x"]),
            Err(BadArguments::NoValue { name: "mapper" })
        );
        let stray = parse(&["-output", "out", "more", "words"]).unwrap_err();
        assert_eq!(
            stray,
            BadArguments::Stray { words: vec!["more".to_owned(), "words".to_owned()] }
        );
    }

    #[test]
    fn several_values_end_at_an_option_that_exists() {
        let arguments = parse(&["-input", "a", "-x", "-output", "out"]).unwrap();
        assert_eq!(all(&arguments, "input"), ["a", "-x"]);
    }

    #[test]
    fn old_options_and_a_strange_order_are_warned_of() {
        let arguments = parse(&["-file", "a", "b", "-jobconf", "x=1", "-D", "y=2"]).unwrap();
        assert_eq!(all(&arguments, "file"), ["a", "b"]);
        assert_eq!(arguments.warnings.len(), 3, "{:?}", arguments.warnings);
    }

    #[test]
    fn quotes_around_a_whole_value_are_dropped() {
        let arguments = parse(&["-mapper", "\"a b\"", "-reducer", "\"a\" \"b\""]).unwrap();
        assert_eq!(arguments.value("mapper"), Some("a b"));
        assert_eq!(arguments.value("reducer"), Some("\"a\" \"b\""));
    }

    #[test]
    fn an_option_goes_with_its_values_and_nothing_else() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, name, left) in [
            ("-D a=1 --on spark -input x y -output z", "on", "-D a=1 -input x y -output z"),
            ("--on=spark x -verbose", "on", "x -verbose"),
            ("-input x y -output z -input w", "input", "-output z"),
            ("-verbose x", "verbose", "x"),
            ("-mapper -x --on", "on", "-mapper -x"),
            ("-mapper cat", "on", "-mapper cat"),
        ] {
            assert_eq!(without(&words(line), name), words(left), "{line}");
        }
    }

    #[test]
    fn help_is_short_or_long() {
        assert_eq!(parse(&["-help"]).unwrap().help, Some(Help::Short));
        assert_eq!(parse(&["--info", "-help"]).unwrap().help, Some(Help::Long));
        assert_eq!(parse(&[]).unwrap().help, None);
    }
}
