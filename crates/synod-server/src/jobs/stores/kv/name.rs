//! The names of key ranges.
//!
//! ```text
//! kv://users/                     every key that begins with users/
//! kv:///users/%00                 every key that begins with /users/ and a zero byte
//! kv://                           every key
//! kv://a?end=c                    the keys from a up to c, c not included
//! kv://a?end=                     the keys from a on
//! kv://users/?revision=17         as they were at revision 17
//! ```
//!
//! `%` and two hexadecimal digits stand for any byte; `%`, `?` and `&` must be written so. Settings are
//! separated by `&`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_base::Revision;
use synod_jobs::JobError;
use synod_state::kv::KeyRange;

/// What stands before `://`.
pub(in crate::jobs) const SCHEME: &str = "kv";

/// What a name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeysName {
    /// Which keys.
    pub range: KeyRange,
    /// When, if it is said.
    pub revision: Option<Revision>,
}

impl KeysName {
    /// Reads a name.
    pub(super) fn parse(name: &Path) -> Result<KeysName, JobError> {
        let bad = |what: &str| JobError::BadSpec { what: format!("{}: {what}", name.display()) };
        let text = name.to_str().ok_or_else(|| bad("it is not UTF-8"))?;
        let rest = text.strip_prefix("kv://").ok_or_else(|| bad("it does not begin with kv://"))?;
        let (key, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let key = unescape(key).ok_or_else(|| bad("after % come two hexadecimal digits"))?;
        let mut range = KeyRange::prefix(key.clone());
        let mut revision = None;
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (what, value) = setting.split_once('=').unwrap_or((setting, ""));
            match what {
                "end" => {
                    let end = unescape(value)
                        .ok_or_else(|| bad("after % come two hexadecimal digits"))?;
                    if !end.is_empty() && end <= key {
                        return Err(bad("its end is not behind its beginning"));
                    }
                    let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() };
                    range = KeyRange { key, range_end: or_zero(end) };
                }
                "revision" => {
                    let number = value.parse().ok().filter(|&number: &i64| number > 0);
                    revision =
                        Some(Revision(number.ok_or_else(|| bad("a revision is a number from 1"))?));
                }
                _ => return Err(bad("the settings of a key range are `end` and `revision`")),
            }
        }
        Ok(KeysName { range, revision })
    }

    /// The prefix that an output's name says.
    pub(super) fn output_prefix(name: &Path) -> Result<Bytes, JobError> {
        let text = name.to_str().unwrap_or_default();
        if text.contains('?') {
            let what = format!("{}: an output is a prefix and nothing else", name.display());
            return Err(JobError::BadSpec { what });
        }
        let KeysName { range, .. } = KeysName::parse(name)?;
        // "Every key" begins at the first one there can be.
        Ok(if text == "kv://" { Bytes::new() } else { range.key })
    }

    /// The name of a range with an end, at a revision.
    pub(super) fn of_piece(range: &KeyRange, revision: Revision) -> PathBuf {
        let end = if range.range_end[..] == [0] { &[][..] } else { &range.range_end };
        let (key, end, Revision(revision)) = (escaped(&range.key), escaped(end), revision);
        PathBuf::from(format!("kv://{key}?end={end}&revision={revision}"))
    }
}

/// etcd writes "no end" as a single zero byte.
fn or_zero(end: Bytes) -> Bytes {
    if end.is_empty() { Bytes::from_static(&[0]) } else { end }
}

/// The name of all keys that begin with these bytes.
pub(super) fn name_of_prefix(prefix: &[u8]) -> String {
    format!("kv://{}", escaped(prefix))
}

/// The text that stands for these bytes in a name.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'&' | b'#' | b'"' | b'\\') {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02x}").expect("a string takes everything");
        }
    }
    text
}

fn unescape(text: &str) -> Option<Bytes> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let value = digit(rest.first())? * 16 + digit(rest.get(1))?;
            bytes.push(u8::try_from(value).expect("two digits of 16 fit a byte"));
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<(Vec<u8>, Vec<u8>, Option<i64>)> {
        let name = KeysName::parse(Path::new(name)).ok()?;
        let (KeyRange { key, range_end }, revision) = (name.range, name.revision);
        Some((key.to_vec(), range_end.to_vec(), revision.map(|Revision(number)| number)))
    }

    #[test]
    fn a_name_says_which_keys_and_when() {
        let some = |key: &[u8], end: &[u8], at| Some((key.to_vec(), end.to_vec(), at));
        assert_eq!(parsed("kv://users/"), some(b"users/", b"users0", None));
        assert_eq!(parsed("kv:///a%20b%ff"), some(b"/a b\xff", b"/a c", None));
        assert_eq!(parsed("kv://"), some(b"\0", b"\0", None));
        assert_eq!(parsed("kv://a?end=c&revision=7"), some(b"a", b"c", Some(7)));
        assert_eq!(parsed("kv://a?end="), some(b"a", b"\0", None));
        assert_eq!(parsed("kv://?end=c"), some(b"\0", b"c", None));
        assert_eq!(parsed("kv://a?revision=9"), some(b"a", b"b", Some(9)));
    }

    #[test]
    fn a_name_that_says_nothing_sensible_is_refused() {
        for name in [
            "kv:/a",
            "kv://a%2",
            "kv://a%zz",
            "kv://a?end=%f",
            "kv://b?end=a",
            "kv://b?end=b",
            "kv://a?revision=0",
            "kv://a?revision=-3",
            "kv://a?revision=x",
            "kv://a?limit=3",
        ] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }

    #[test]
    fn any_range_comes_back_from_its_name() {
        let all: Vec<u8> = (0..=255).collect();
        for (key, end) in [(&all[1..], &all[2..]), (b"a", b"\0"), (b"a?&%#", b"b c\n")] {
            let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end));
            let range = KeyRange { key, range_end };
            let name = KeysName::of_piece(&range, Revision(3));
            assert!(name.to_str().unwrap().is_ascii(), "{name:?}");
            let revision = Some(Revision(3));
            assert_eq!(KeysName::parse(&name).unwrap(), KeysName { range, revision });
        }
    }
}
