//! Which commands a piece of shell text runs, as far as that can be seen without a shell.

/// Programs that run such text.
pub const SHELLS: &[&str] = &["sh", "bash", "dash", "ksh", "zsh"];

/// They order by the locale.
const BY_LOCALE: &[&str] = &["sort", "join", "comm"];

/// They read nothing..
const WITHOUT_INPUT: &[&str] = &[
    "cd", "date", "echo", "exit", "export", "false", "hostname", "ls", "printf", "pwd", "seq",
    "set", "sleep", "true", "uname", "whoami", "yes",
];
/// ..or stop when they have enough.
const EARLY: &[&str] = &["head"];

/// Words that a command follows.
const KEYWORDS: &[&str] =
    &["!", "{", "do", "elif", "else", "exec", "if", "then", "time", "until", "while"];

/// The words where a command begins: first, and behind what parts commands.
pub fn commands(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        for piece in line.split(['|', ';', '&', '(', ')', '`']) {
            let mut words = piece.split_whitespace().skip_while(|word| is_before_command(word));
            if let Some(word) = words.next().filter(|word| !word.starts_with('#')) {
                found.push(word.rsplit('/').next().unwrap_or(word));
            }
        }
    }
    found
}

/// A keyword, or a variable set for one command.
fn is_before_command(word: &str) -> bool {
    let is_variable = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    KEYWORDS.contains(&word) || word.split_once('=').is_some_and(|(name, _)| is_variable(name))
}

/// A command that does not read all its input, if none of them does.
pub fn without_input<'t>(commands: &[&'t str]) -> Option<&'t str> {
    let reads_less = |word: &str| WITHOUT_INPUT.contains(&word) || EARLY.contains(&word);
    let all = !commands.is_empty() && commands.iter().all(|word| reads_less(word));
    all.then(|| commands[0])
}

/// A command whose order is that of the locale.
pub fn by_locale<'t>(commands: &[&'t str]) -> Option<&'t str> {
    commands.iter().find(|word| BY_LOCALE.contains(word)).copied()
}

/// Whether the text sets the locale to that of bytes.
pub fn sets_byte_order(text: &str) -> bool {
    ["LC_ALL=C", "LC_ALL=POSIX"].iter().any(|set| text.contains(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_where_they_begin() {
        assert_eq!(commands("cut -f1 | /usr/bin/sort -u && A=b c"), ["cut", "sort", "c"]);
        assert_eq!(commands("while read x; do echo sort; done # join"), ["read", "echo", "done"]);
        assert_eq!(commands("x=$(comm a b)\n# sort"), ["comm"]);
        assert!(commands(" \n").is_empty());
    }

    #[test]
    fn one_that_reads_is_enough() {
        assert_eq!(without_input(&commands("echo a; seq 3")), Some("echo"));
        assert_eq!(without_input(&commands("head -n 1")), Some("head"));
        assert_eq!(without_input(&commands("echo a; cat")), None);
        assert_eq!(without_input(&[]), None);
        assert_eq!(by_locale(&commands("grep sort | comm - x")), Some("comm"));
        assert!(sets_byte_order("LC_ALL=C.UTF-8 sort") && !sets_byte_order("LC_ALL=de_DE sort"));
    }
}
