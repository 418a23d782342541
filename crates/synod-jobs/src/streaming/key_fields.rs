//! `-k` specifications: which bytes of a key a partitioner hashes and a comparator compares.
//!
//! A key is cut into fields at a separator, as Hadoop does it (its arithmetic for separators of
//! several bytes included, because it decides into which part file a pair goes). Fields and
//! characters count from 1; characters are bytes.

use crate::error::JobError;
use memchr::memmem::Finder;
use std::ops::Range;

/// One `-k` or, without any, the whole key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// Field in which it begins, from 1.
    begin_field: usize,
    /// Byte of that field, from 1.
    begin_byte: usize,
    /// Field in which it ends; 0 is the end of the key.
    end_field: usize,
    /// Byte of that field; 0 is its end.
    end_byte: usize,
    /// Compare as numbers.
    pub numeric: bool,
    /// Compare the other way round.
    pub reverse: bool,
}

/// All the specifications of a partitioner or comparator.
#[derive(Debug, Clone)]
pub struct KeyFields {
    separator: Finder<'static>,
    specs: Vec<KeySpec>,
    /// Whether a key is cut into fields at all: only if a `-k` stands somewhere.
    cuts: bool,
}

const WHOLE_KEY: KeySpec = KeySpec {
    begin_field: 1,
    begin_byte: 1,
    end_field: 0,
    end_byte: 0,
    numeric: false,
    reverse: false,
};

impl KeyFields {
    /// Reads options like `-k2,2n -k1r`. Without options there is no specification at all.
    pub fn parse(options: Option<&str>, separator: &str) -> Result<KeyFields, JobError> {
        let mut fields = KeyFields {
            separator: Finder::new(separator.as_bytes()).into_owned(),
            specs: Vec::new(),
            cuts: false,
        };
        let Some(options) = options.filter(|options| !options.is_empty()) else {
            return Ok(fields);
        };
        let bad = || JobError::BadSpec {
            what: format!(
                "key options `{options}`: write -k pos1[,pos2], where a pos is field[.byte] \
                 followed by n (numbers) or r (reverse)"
            ),
        };
        let (mut numeric, mut reverse) = (false, false);
        let mut words = options.split_ascii_whitespace();
        while let Some(word) = words.next() {
            match word {
                "-n" => numeric = true,
                "-r" => reverse = true,
                "-nr" | "-rn" => (numeric, reverse) = (true, true),
                "-k" => {
                    let spec = words.next().and_then(KeySpec::parse).ok_or_else(bad)?;
                    fields.specs.push(spec);
                }
                _ => {
                    let spec = word.strip_prefix("-k").and_then(KeySpec::parse).ok_or_else(bad)?;
                    fields.specs.push(spec);
                }
            }
        }
        fields.cuts = !fields.specs.is_empty();
        for spec in &mut fields.specs {
            if !spec.numeric && !spec.reverse {
                (spec.numeric, spec.reverse) = (numeric, reverse);
            }
        }
        if fields.specs.is_empty() {
            fields.specs.push(KeySpec { numeric, reverse, ..WHOLE_KEY });
        }
        Ok(fields)
    }

    /// The fields from the first to this one, which is how `num.key.fields.for.partition` says it.
    pub fn first(count: usize, separator: &str) -> KeyFields {
        let spec = KeySpec { end_field: count, ..WHOLE_KEY };
        KeyFields {
            separator: Finder::new(separator.as_bytes()).into_owned(),
            specs: if count > 0 { vec![spec] } else { Vec::new() },
            cuts: count > 0,
        }
    }

    /// The specifications, in their order.
    pub fn specs(&self) -> &[KeySpec] {
        &self.specs
    }

    /// Cuts a key. `lengths` is scratch memory; ask [`KeyFields::range`] with it.
    pub fn cut(&self, key: &[u8], lengths: &mut Vec<usize>) {
        lengths.clear();
        if !self.cuts || self.separator.needle().is_empty() {
            lengths.push(key.len());
            return;
        }
        let mut start = 0;
        while let Some(at) = self.separator.find(&key[start..]) {
            lengths.push(at);
            start += at + 1;
        }
        lengths.push(key.len() - start);
    }

    /// The bytes that a specification means; `None` if the key has no such field or byte.
    pub fn range(&self, spec: &KeySpec, key: &[u8], lengths: &[usize]) -> Option<Range<usize>> {
        let step = self.separator.needle().len();
        let field_start = |field: usize| -> usize {
            lengths[..field - 1].iter().map(|length| length + step).sum()
        };
        if lengths.len() < spec.begin_field {
            return None;
        }
        let start = field_start(spec.begin_field) + spec.begin_byte - 1;
        if start >= key.len() {
            return None;
        }
        let mut end = key.len();
        if spec.end_field != 0 && lengths.len() >= spec.end_field {
            let mut wanted = field_start(spec.end_field) + spec.end_byte;
            if spec.end_byte == 0 {
                wanted += lengths[spec.end_field - 1];
            }
            if wanted <= key.len() {
                end = wanted;
            }
        }
        Some(start..end.max(start))
    }
}

impl KeySpec {
    /// `1[.3][nr][,2[.5][nr]]`
    fn parse(text: &str) -> Option<KeySpec> {
        let mut spec = WHOLE_KEY;
        let (begin, end) = match text.split_once(',') {
            Some((begin, end)) => (begin, Some(end)),
            None => (text, None),
        };
        let begin = spec.take_letters(begin);
        (spec.begin_field, spec.begin_byte) = position(begin)?;
        if spec.begin_byte == 0 && !begin.contains('.') {
            spec.begin_byte = 1;
        }
        if let Some(end) = end {
            (spec.end_field, spec.end_byte) = position(spec.take_letters(end))?;
        }
        (spec.begin_field > 0 && spec.begin_byte > 0).then_some(spec)
    }

    /// Takes the `n` and `r` at the end.
    fn take_letters<'t>(&mut self, text: &'t str) -> &'t str {
        let rest = text.trim_end_matches(['n', 'r']);
        self.numeric |= text[rest.len()..].contains('n');
        self.reverse |= text[rest.len()..].contains('r');
        rest
    }
}

/// `field[.byte]`; a byte that is not there is 0.
fn position(text: &str) -> Option<(usize, usize)> {
    let number = |digits: &str| {
        // Small enough that no sum of positions can overflow.
        digits.parse::<u32>().ok().map(|number| number as usize)
    };
    match text.split_once('.') {
        Some((field, byte)) => Some((number(field)?, number(byte)?)),
        None => Some((number(text)?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges<'k>(options: &str, separator: &str, key: &'k str) -> Vec<Option<&'k str>> {
        let fields = KeyFields::parse(Some(options), separator).unwrap();
        let mut lengths = Vec::new();
        fields.cut(key.as_bytes(), &mut lengths);
        let range = |spec| fields.range(spec, key.as_bytes(), &lengths).map(|range| &key[range]);
        fields.specs().iter().map(range).collect()
    }

    #[test]
    fn specifications_choose_bytes_of_the_key() {
        for (options, key, expected) in [
            ("-k1,1", "a.bb.c", Some("a")),
            ("-k2,2", "a.bb.c", Some("bb")),
            ("-k2", "a.bb.c", Some("bb.c")),
            ("-k 2.2,3.1", "a.bb.cc", Some("b.c")),
            ("-k1.1,1.2", "abc.d", Some("ab")),
            ("-k3,3", "a.b", None),
            ("-k1.9", "a.b", None),
            ("-k1,9", "a.b", Some("a.b")),
            ("-k2,2", "a..c", Some("")),
            ("-k3,3", "a.b.", None),
            ("-k2,1", "a.b", Some("")),
            ("-n", "a.b", Some("a.b")),
            ("-n", "", None),
        ] {
            assert_eq!(ranges(options, ".", key), [expected], "{options} of {key}");
        }
        assert_eq!(ranges("-k2,2 -k1,1", ".", "a.b"), [Some("b"), Some("a")]);
    }

    #[test]
    fn letters_stand_behind_either_position_or_alone() {
        for (options, numeric, reverse) in [
            ("-k1", false, false),
            ("-k1nr", true, true),
            ("-k1n,1r", true, true),
            ("-k1.1n,1", true, false),
            ("-k1 -n", true, false),
            ("-nr -k1", true, true),
            ("-nr -k1r", false, true),
            ("-r", false, true),
        ] {
            let fields = KeyFields::parse(Some(options), "\t").unwrap();
            let spec = fields.specs()[0];
            assert_eq!((spec.numeric, spec.reverse), (numeric, reverse), "{options}");
        }
    }

    #[test]
    fn broken_options_are_refused() {
        for bad in ["-k", "-kx", "-k1,", "-k0", "-k1.0", "-k1q", "-k1,2,3", "foo", "-k99999999999"]
        {
            assert!(KeyFields::parse(Some(bad), "\t").is_err(), "{bad}");
        }
        assert!(KeyFields::parse(None, "\t").unwrap().specs().is_empty());
        assert!(KeyFields::parse(Some(""), "\t").unwrap().specs().is_empty());
    }
}
