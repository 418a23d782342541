//! The grammar of `synod txn`: three parts (compares, operations, operations), separated by an empty
//! line; a line that begins with `#` is a comment. Words are separated by blanks; in double quotes a word may
//! hold blanks, and `\"`, `\\`, `\n`, `\t`.

use synod::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest, RangeRequest,
    TxnOp, TxnRequest,
};
use synod::{LeaseId, Revision};

use crate::cli::parse;

/// Reads a whole transaction; an error names the line.
pub fn transaction(text: &str) -> Result<TxnRequest, String> {
    let mut request = TxnRequest::default();
    let mut part = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let read = match (line.is_empty(), part) {
            (true, _) => {
                part += 1;
                Ok(())
            }
            _ if line.starts_with('#') => Ok(()),
            (_, 0) => compare(line).map(|compare| request.compare.push(compare)),
            (_, 1) => operation(line).map(|op| request.success.push(op)),
            (_, 2) => operation(line).map(|op| request.failure.push(op)),
            _ => Err("there are three parts only; remove the empty line before this".to_owned()),
        };
        read.map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    if request.compare.is_empty() && request.success.is_empty() && request.failure.is_empty() {
        return Err("the transaction is empty; see `synod txn --help`".to_owned());
    }
    Ok(request)
}

/// `target("key") operator "value"`.
fn compare(line: &str) -> Result<Compare, String> {
    let bad = || format!("`{line}` is not a compare; write for example version(\"key\") = \"0\"");
    let (target, rest) = line.split_once('(').ok_or_else(bad)?;
    let (key, rest) = word(rest).ok().flatten().ok_or_else(bad)?;
    let rest = rest.trim_start().strip_prefix(')').ok_or_else(bad)?.trim_start();
    let operators = [
        ("!=", CompareResult::NotEqual),
        ("=", CompareResult::Equal),
        (">", CompareResult::Greater),
        ("<", CompareResult::Less),
    ];
    let found = operators
        .into_iter()
        .find_map(|(sign, result)| rest.strip_prefix(sign).map(|rest| (result, rest)));
    let (result, rest) = found.ok_or_else(bad)?;
    let (value, rest) = word(rest)?.ok_or_else(bad)?;
    if !rest.trim().is_empty() {
        return Err(bad());
    }
    let number = || value.parse::<i64>().map_err(|_| format!("`{value}` is not a number"));
    let target = match target.trim() {
        "value" | "val" => CompareTarget::Value(value.into()),
        "version" | "ver" => CompareTarget::Version(number()?),
        "create" | "c" => CompareTarget::Create(Revision(number()?)),
        "mod" | "m" => CompareTarget::Mod(Revision(number()?)),
        "lease" if value == "0" => CompareTarget::Lease(LeaseId::NONE),
        "lease" => CompareTarget::Lease(parse::lease_id(&value)?),
        other => {
            let why = "compare value, version, create, mod or lease";
            return Err(format!("cannot compare `{other}`; {why}"));
        }
    };
    Ok(Compare { range: KeyRange::one(key), result, target })
}

/// `put ..`, `get ..` or `del ..`.
fn operation(line: &str) -> Result<TxnOp, String> {
    let mut words = Words::of(line)?;
    let name = words.plain.first().cloned().unwrap_or_default();
    let op = match (name.as_str(), words.plain.len()) {
        ("put", 3) => {
            let lease = words.option("--lease")?.map(|id| parse::lease_id(&id)).transpose()?;
            TxnOp::Put(PutRequest {
                key: words.plain[1].clone().into(),
                value: words.plain[2].clone().into(),
                lease: lease.unwrap_or_default(),
                ..PutRequest::default()
            })
        }
        ("get", 2 | 3) => {
            let limit = words.option("--limit")?;
            let limit = limit.map(|n| n.parse().map_err(|_| format!("`{n}` is not a number")));
            TxnOp::Range(RangeRequest {
                limit: limit.transpose()?.unwrap_or(0),
                range: words.range(),
                ..RangeRequest::default()
            })
        }
        ("del", 2 | 3) => {
            TxnOp::DeleteRange(DeleteRangeRequest { range: words.range(), prev_kv: false })
        }
        _ => return Err(format!("`{line}` is not an operation; write put, get or del")),
    };
    match words.flags.first() {
        Some((flag, _)) => Err(format!("`{name}` has no option {flag}")),
        None => Ok(op),
    }
}

/// The words of an operation, its options apart.
struct Words {
    plain: Vec<String>,
    /// Options with their values; `--prefix` has none.
    flags: Vec<(String, Option<String>)>,
}

impl Words {
    fn of(line: &str) -> Result<Words, String> {
        let mut words = Words { plain: Vec::new(), flags: Vec::new() };
        let mut rest = line;
        loop {
            let quoted = rest.trim_start().starts_with('"');
            let Some((text, after)) = word(rest)? else { return Ok(words) };
            rest = after;
            if quoted || !text.starts_with("--") {
                words.plain.push(text);
            } else if text == "--prefix" {
                words.flags.push((text, None));
            } else if let Some((name, value)) = text.split_once('=') {
                words.flags.push((name.to_owned(), Some(value.to_owned())));
            } else {
                let value = word(rest)?;
                rest = value.as_ref().map_or("", |(_, after)| after);
                words.flags.push((text, value.map(|(value, _)| value)));
            }
        }
    }

    /// Takes an option out; its value must be there.
    fn option(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(at) = self.flags.iter().position(|(flag, _)| flag == name) else {
            return Ok(None);
        };
        let (_, value) = self.flags.remove(at);
        value.map(Some).ok_or_else(|| format!("{name} needs a value"))
    }

    fn range(&mut self) -> KeyRange {
        let key = self.plain[1].clone();
        if let Some(at) = self.flags.iter().position(|(flag, _)| flag == "--prefix") {
            self.flags.remove(at);
            return KeyRange::prefix(key);
        }
        let range_end = self.plain.get(2).cloned().unwrap_or_default();
        KeyRange { key: key.into(), range_end: range_end.into() }
    }
}

/// The first word of a text and what follows it; `None` at the end.
fn word(text: &str) -> Result<Option<(String, &str)>, String> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        if text.is_empty() {
            return Ok(None);
        }
        let end = text.find(|c: char| c.is_whitespace() || c == ')').unwrap_or(text.len());
        // A bracket alone would never be passed.
        let end = if end == 0 { 1 } else { end };
        return Ok(Some((text[..end].to_owned(), &text[end..])));
    };
    let mut word = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok(Some((word, &quoted[at + 1..]))),
            '\\' => match characters.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, 't')) => word.push('\t'),
                Some((_, plain @ ('"' | '\\'))) => word.push(plain),
                _ => return Err(r#"after \ only ", \, n and t are known"#.to_owned()),
            },
            plain => word.push(plain),
        }
    }
    Err("a quoted text does not end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_three_parts() {
        let text = "# only once\nversion(\"a b\") = \"0\"\n\nput \"a b\" \"x \\\"y\\\"\"\nget k --prefix \
                    --limit 3\n\ndel k z\n";
        let request = transaction(text).unwrap();
        assert_eq!(
            request.compare,
            [Compare {
                range: KeyRange::one("a b"),
                result: CompareResult::Equal,
                target: CompareTarget::Version(0),
            }]
        );
        let TxnOp::Put(put) = &request.success[0] else { panic!("{request:?}") };
        assert_eq!((&put.key[..], &put.value[..]), (&b"a b"[..], &b"x \"y\""[..]));
        let TxnOp::Range(get) = &request.success[1] else { panic!("{request:?}") };
        assert_eq!((get.limit, &get.range), (3, &KeyRange::prefix("k")));
        let TxnOp::DeleteRange(delete) = &request.failure[0] else { panic!("{request:?}") };
        assert_eq!(delete.range, KeyRange { key: "k".into(), range_end: "z".into() });
    }

    #[test]
    fn all_compares_are_read() {
        let lines = [
            (r#"value("k") != "v""#, CompareResult::NotEqual, CompareTarget::Value("v".into())),
            (r#"mod("k") > "5""#, CompareResult::Greater, CompareTarget::Mod(Revision(5))),
            (r#"create(k) < 7"#, CompareResult::Less, CompareTarget::Create(Revision(7))),
        ];
        for (line, result, target) in lines {
            let read = compare(line).unwrap();
            assert_eq!((read.result, read.target), (result, target), "{line}");
            assert_eq!(read.range, KeyRange::one("k"));
        }
    }

    #[test]
    fn what_is_no_transaction_is_refused_with_its_line() {
        let bad = [
            "",
            "\n\n",
            "k = v",
            "size(\"k\") = \"1\"",
            "version(\"k\") = \"x\"",
            "version(\"k\") = \"1\" more",
            "version(\"k\" = \"1\"",
            "value(\"k) = \"1\"",
            "\nput k",
            "\nput k v --prefix",
            "\nput k v --lease",
            "\nget k --limit x",
            "\nget \"k\\q\"",
            "\nput )",
            "\n\n\nput k v",
        ];
        for text in bad {
            assert!(transaction(text).is_err(), "{text}");
        }
        assert!(transaction("\nput k").unwrap_err().starts_with("line 2: "));
    }
}
