//! Command lines as Hadoop Streaming takes them apart: blanks and quotes, no shell.
//!
//! There are no escapes, no variables, no pipes. A quote that opens within a word begins a new
//! argument, one that closes ends it, and what is empty is dropped. A command is kept in the
//! job's properties the way Java encodes forms, because scripts read it from their environment.

/// The arguments of a command line; none if it is blank.
pub fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut start = 0;
    let mut quote = None;
    let mut end_here = |start: &mut usize, at: usize| {
        if at > *start {
            arguments.push(line[*start..at].to_owned());
        }
        *start = at + 1;
    };
    for (at, byte) in line.bytes().enumerate() {
        match (byte, quote) {
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                end_here(&mut start, at);
            }
            (_, Some(open)) if byte == open => {
                quote = None;
                end_here(&mut start, at);
            }
            (b' ', None) => end_here(&mut start, at),
            _ => {}
        }
    }
    end_here(&mut start, line.len());
    arguments
}

/// The form in which properties hold a command: blanks as `+`, other special bytes as `%XX`.
pub fn encode(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for byte in line.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The command that a property holds; `None` if its escapes are broken.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = rest.get(..2)?;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
                rest = &rest[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_at_blanks_and_quotes_and_nothing_else() {
        for (line, arguments) in [
            ("cat", &["cat"] as &[&str]),
            ("  awk   -f  a.awk ", &["awk", "-f", "a.awk"]),
            ("awk '{print $1}' x", &["awk", "{print $1}", "x"]),
            ("a \"it's\" b", &["a", "it's", "b"]),
            // A quote within a word begins a new argument, the end of it another.
            ("a'b c'd", &["a", "b c", "d"]),
            ("-F'\t'", &["-F", "\t"]),
            ("a '' \"\" b", &["a", "b"]),
            ("a | b > c", &["a", "|", "b", ">", "c"]),
            ("a\\ b", &["a\\", "b"]),
            ("a\tb", &["a\tb"]),
            ("never 'closed it", &["never", "closed it"]),
            ("ünï 'cödé x'", &["ünï", "cödé x"]),
            ("", &[]),
            ("   ", &[]),
        ] {
            assert_eq!(split(line), arguments, "{line}");
        }
    }

    #[test]
    fn a_command_in_a_property_is_a_java_form_field() {
        let line = "awk '{print $1\t\"ü\"}' a-b_c.d*e~";
        let text = "awk+%27%7Bprint+%241%09%22%C3%BC%22%7D%27+a-b_c.d*e%7E";
        assert_eq!(encode(line), text);
        assert_eq!(decode(text).as_deref(), Some(line));
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
