//! What a shipped script's text shows: how it starts, what it reads, what may differ when it runs again.
//!
//! It is looked for by name, in lines that are no comments: a script that does such a thing through a
//! module of its own is not seen, and one that names a thing need not depend on it. So a finding is
//! something to look at, never a verdict.

use super::shell;
use std::io;
use std::path::Path;

/// The first so many bytes of a script are looked at.
pub const LOOKED_AT_BYTES: u64 = 1 << 20;

/// A shipped file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// Its first bytes, [`LOOKED_AT_BYTES`] at most.
    pub first: Vec<u8>,
    /// Whether its mode lets anybody start it.
    pub may_execute: bool,
}

/// Reads the beginning of a shipped file.
pub type Look<'l> = dyn Fn(&Path) -> io::Result<Shipped> + 'l;

/// Where a script stands in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'c> {
    /// It is the program.
    Program,
    /// It is an argument of this one, its interpreter as a rule.
    ArgumentOf(&'c str),
}

/// What a script is written in, as far as that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    Perl,
    Ruby,
    Awk,
    Shell,
    Other,
}

/// What is known of the job beside the script.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'b> {
    /// Names of all shipped files, for what a script may import.
    pub names: &'b [&'b str],
    /// There are archives, which may hold modules.
    pub archives: bool,
    /// `LC_ALL` is that of bytes.
    pub bytewise: bool,
    /// `PYTHONHASHSEED` is set.
    pub hash_seed: bool,
}

/// What to look at in the script `name`.
pub fn lint_script(
    name: &str,
    place: Place<'_>,
    shipped: &Shipped,
    beside: &Beside<'_>,
) -> Vec<String> {
    let mut found = Vec::new();
    // A program that was compiled says nothing of this.
    if shipped.first.iter().take(1024).any(|&byte| byte == 0) {
        return found;
    }
    let text = String::from_utf8_lossy(&shipped.first);
    let first_line = text.lines().next().unwrap_or_default();
    let shebang = text.starts_with("#!").then_some(first_line);
    if place == Place::Program {
        lint_start(name, &text, shebang, shipped.may_execute, &mut found);
    }
    let language = Language::of(name, place, shebang);
    let code: String = code_lines(&text).collect::<Vec<_>>().join("\n");
    if language == Language::Shell {
        let commands = shell::commands(&code);
        if let Some(command) = shell::without_input(&commands) {
            found.push(format!("{name}: {command} does not read all its input, nothing else does"));
        }
        if let Some(command) = shell::by_locale(&commands)
            && !beside.bytewise
            && !shell::sets_byte_order(&code)
        {
            found.push(super::locale_warning(name, command));
        }
    } else if !language.reads_input(&code, shebang) && !imports_shipped(&code, name, beside) {
        found.push(format!(
            "{name}: nothing in it names its standard input, and it must read all of it"
        ));
    }
    if let Some(what) = language.chance(&code, beside) {
        found.push(format!(
            "{name}: {what} is not the same in each run; a task that runs again, after a failure or \
             beside a slow one, must print the same"
        ));
    }
    if let Some(what) = language.writes(&code)
        && !names_output_folder(&code)
    {
        found.push(format!(
            "{name}: {what} writes a file; only those in $mapreduce_task_output_dir come to the output, \
             with the attempt that has won"
        ));
    }
    let to_errors = ["stderr", "STDERR", ">&2", "warn"];
    if code.contains("reporter:") && !to_errors.iter().any(|way| code.contains(way)) {
        found.push(format!("{name}: lines to reporter: are heard on standard error only"));
    }
    found
}

/// Whether it can be started by its name.
fn lint_start(
    name: &str,
    text: &str,
    shebang: Option<&str>,
    may_execute: bool,
    found: &mut Vec<String>,
) {
    let Some(shebang) = shebang else {
        found.push(format!(
            "{name}: without a #! line it cannot be started; add one, or write its interpreter in front"
        ));
        return;
    };
    if text[shebang.len()..].starts_with("\r\n") {
        found
            .push(format!("{name}: its lines end as on Windows; no interpreter is called `..\\r`"));
    }
    let mut words = shebang[2..].split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    let by_name = interpreter.ends_with("/env").then(|| words.find(|word| !word.starts_with('-')));
    match by_name.flatten() {
        Some(program) if !super::EVERYWHERE.contains(&program) => {
            found.push(format!("{name}: its #! line asks for {program}; is it everywhere?"));
        }
        None if !["/bin/", "/usr/bin/"].iter().any(|folder| interpreter.starts_with(folder)) => {
            found.push(format!("{name}: its #! line asks for {interpreter} on every machine"));
        }
        _ => {}
    }
    if !may_execute {
        found.push(format!(
            "{name}: its mode does not let it be started; here and in Hadoop tasks get it with one \
             that does, a pipe in a shell (cat in | ./{name}) does not"
        ));
    }
}

/// Without comments, as far as they have lines of their own.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

/// A module that is shipped, too, may do what the script itself does not.
fn imports_shipped(code: &str, name: &str, beside: &Beside<'_>) -> bool {
    let imports = ["import", "require", "use ", "source"].iter().any(|word| code.contains(word));
    let others = beside.names.iter().filter(|other| **other != name);
    let modules = others.filter_map(|other| other.split('.').next());
    let names_one = |module: &str| !module.is_empty() && code.contains(module);
    imports && (beside.archives || modules.into_iter().any(names_one))
}

fn names_output_folder(code: &str) -> bool {
    ["task_output_dir", "work_output_dir"].iter().any(|name| code.contains(name))
}

impl Language {
    fn of(name: &str, place: Place<'_>, shebang: Option<&str>) -> Language {
        let interpreter = match place {
            Place::ArgumentOf(program) => program,
            Place::Program => shebang.unwrap_or_default(),
        };
        let last = interpreter.rsplit(['/', ' ']).next().unwrap_or_default();
        let by_interpreter = [
            ("python", Language::Python),
            ("pypy", Language::Python),
            ("perl", Language::Perl),
            ("ruby", Language::Ruby),
            ("awk", Language::Awk),
        ];
        let named = by_interpreter.iter().find(|(part, _)| interpreter.contains(part));
        if let Some((_, language)) = named {
            return *language;
        }
        if shell::SHELLS.contains(&last) {
            return Language::Shell;
        }
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("py") => Language::Python,
            Some("pl") => Language::Perl,
            Some("rb") => Language::Ruby,
            Some("awk") => Language::Awk,
            Some("sh") => Language::Shell,
            _ => Language::Other,
        }
    }

    /// Whether the code names its standard input. What is not known is taken to read it.
    fn reads_input(self, code: &str, shebang: Option<&str>) -> bool {
        let any = |names: &[&str]| names.iter().any(|name| code.contains(name));
        match self {
            Language::Python => any(&[
                "stdin",
                "input(",
                "fileinput",
                "open(0",
                "fdopen(0",
                "os.read(0",
                "FileType",
                "mrjob",
                "MRJob",
                "subprocess",
                "exec",
            ]),
            Language::Perl => {
                let switches = shebang.unwrap_or_default();
                any(&["STDIN", "<>", "<<>>", "exec", "system"])
                    || switches.contains(" -n")
                    || switches.contains(" -p")
            }
            Language::Ruby => any(&["STDIN", "$stdin", "ARGF", "gets", "$<", "readlines", "exec"]),
            Language::Awk | Language::Shell | Language::Other => true,
        }
    }

    /// The first thing in the code that is another one in each run.
    fn chance(self, code: &str, beside: &Beside<'_>) -> Option<&'static str> {
        let any = |names: &[&str]| names.iter().any(|name| code.contains(name));
        let seeded =
            any(&["seed(", "srand(", "Random("]) && !any(&["seed()", "srand()", "Random()"]);
        let by_seed: &[&'static str] = match self {
            Language::Python => &["random.", "shuffle(", "randint("],
            Language::Perl | Language::Ruby => &["rand(", "shuffle"],
            Language::Awk => &["rand("],
            Language::Shell | Language::Other => &[],
        };
        let always: &[&'static str] = match self {
            Language::Python => {
                &["urandom", "uuid1(", "uuid4(", "secrets.", "time.time(", "now(", "today("]
            }
            Language::Perl => &["time()", "localtime"],
            Language::Ruby => &["SecureRandom", "Time.now"],
            Language::Awk => &["srand()", "systime("],
            Language::Shell => &["$RANDOM", "shuf", "uuidgen", "$(date", "`date"],
            Language::Other => &[],
        };
        let by_seed = by_seed.iter().filter(|_| !seeded);
        let named = by_seed.chain(always).find(|name| has_word(code, name)).copied();
        let hash = self == Language::Python && !beside.hash_seed && has_word(code, "hash(");
        named.or_else(|| hash.then_some("hash() of a text (but for -cmdenv PYTHONHASHSEED=0)"))
    }

    /// What in the code makes a file.
    fn writes(self, code: &str) -> Option<&'static str> {
        let pattern = match self {
            Language::Python => r#"\bopen\([^()\n]*,\s*(?:mode\s*=\s*)?["'][wax]"#,
            Language::Perl => r#"\bopen[\s(][^;\n]*["']\s*>"#,
            Language::Ruby => r#"\bFile\.(?:open|new)[\s(][^)\n]*["'][wa]"#,
            Language::Shell => r"(?:^|[|;&]\s*|\n\s*)tee\s",
            Language::Awk | Language::Other => return None,
        };
        let is_there = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(code));
        is_there.then_some(if self == Language::Shell { "tee" } else { "open" })
    }
}

/// Whether `name` stands in the code and is not the end of a longer word.
fn has_word(code: &str, name: &str) -> bool {
    let in_word = |before: char| before.is_ascii_alphanumeric() || before == '_';
    code.match_indices(name).any(|(at, _)| !code[..at].ends_with(in_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, place: Place<'_>, text: &str) -> String {
        let shipped = Shipped { first: text.as_bytes().to_vec(), may_execute: true };
        let names = ["m.py", "helper.py", "m.sh", "m.rb", "m.pl", "m.awk", "m"];
        let beside = Beside { names: &names, archives: false, bytewise: false, hash_seed: false };
        lint_script(name, place, &shipped, &beside).join("\n")
    }

    #[test]
    fn a_script_that_is_started_by_its_name_needs_a_line_that_says_by_what() {
        let body = "import sys\nfor line in sys.stdin: print(line)\n";
        let started = |first: &str| look("m.py", Place::Program, &format!("{first}{body}"));
        assert_eq!(started("#!/usr/bin/env python3\n"), "");
        assert_eq!(started("#!/usr/bin/python3 -u\n"), "");
        assert!(started("").contains("without a #! line"));
        assert!(started("# python\n").contains("without a #! line"));
        assert!(started("#!/usr/bin/env python3\r\n").contains("Windows"));
        assert!(started("#!/usr/bin/env julia\n").contains("julia; is it everywhere"));
        assert!(started("#!/home/me/venv/bin/python\n").contains("on every machine"));
        assert_eq!(look("m.py", Place::ArgumentOf("python3"), body), "");
        let first = format!("#!/usr/bin/env python3\n{body}").into_bytes();
        let beside = Beside { names: &[], archives: false, bytewise: true, hash_seed: false };
        let shipped = Shipped { first, may_execute: false };
        let found = lint_script("m.py", Place::Program, &shipped, &beside);
        assert!(found.len() == 1 && found[0].contains("cat in | ./m.py"), "{found:?}");
        let compiled = Shipped { first: b"\x7fELF\0\0".to_vec(), may_execute: true };
        assert!(lint_script("m", Place::Program, &compiled, &beside).is_empty());
    }

    #[test]
    fn a_script_is_to_read_its_input() {
        let python = |code: &str| look("m.py", Place::ArgumentOf("python3"), code);
        assert!(python("print('a')\n# sys.stdin\n").contains("standard input"));
        assert_eq!(python("import fileinput\nfor l in fileinput.input(): pass\n"), "");
        assert_eq!(python("import helper\nhelper.run()\n"), "");
        assert!(look("m.rb", Place::ArgumentOf("ruby"), "puts 1\n").contains("standard input"));
        assert_eq!(look("m.rb", Place::ArgumentOf("ruby"), "while line = gets; end\n"), "");
        assert_eq!(look("m.pl", Place::Program, "#!/usr/bin/perl -ne\nprint;\n"), "");
        assert!(look("m.pl", Place::Program, "#!/usr/bin/perl\nprint 1;\n").contains("input"));
        let shell = |code: &str| look("m.sh", Place::Program, &format!("#!/bin/sh\n{code}\n"));
        assert!(shell("echo begin").contains("echo does not read"));
        assert!(shell("date | head -n 1").contains("does not read"));
        for reads in ["cat", "echo begin; cat", "while read line; do echo $line; done", "$PROGRAM"]
        {
            assert_eq!(shell(reads), "", "{reads}");
        }
    }

    #[test]
    fn what_differs_from_run_to_run_is_named() {
        for (name, program, code, part) in [
            ("m.py", "python3", "import random\nprint(random.random(), input())", "random."),
            ("m.py", "python3", "print(time.time(), input())", "time.time("),
            ("m.py", "python3", "print(hash(input()) % 7)", "PYTHONHASHSEED"),
            ("m.rb", "ruby", "puts gets, rand(7)", "rand("),
            ("m.awk", "awk", "BEGIN { srand() } { print rand() }", "rand("),
            ("m.sh", "bash", "cat; echo $RANDOM", "$RANDOM"),
        ] {
            let found = look(name, Place::ArgumentOf(program), code);
            assert!(
                found.contains(part) && found.contains("must print the same"),
                "{code}: {found}"
            );
        }
        for code in [
            "random.seed(1)\nprint(random.random(), input())",
            "print(my_hash(input()))",
            "print(operand(input()))",
        ] {
            assert_eq!(look("m.py", Place::ArgumentOf("python3"), code), "", "{code}");
        }
    }

    #[test]
    fn files_beside_the_output_and_reports_are_looked_at() {
        let python = |code: &str| look("m.py", Place::ArgumentOf("python3"), code);
        let reads = "import sys, os\nfor line in sys.stdin: pass\n";
        for mode in ["open('x', 'w')", "open(name, mode=\"ab\")"] {
            let found = python(&format!("{reads}{mode}\n"));
            assert!(found.contains("$mapreduce_task_output_dir"), "{mode}: {found}");
        }
        let there = "open(os.environ['mapreduce_task_output_dir'] + '/x', 'w')\n";
        assert_eq!(python(&format!("{reads}{there}open('words.txt', 'r')\n")), "");
        let shell = look("m.sh", Place::ArgumentOf("sh"), "cat | tee copy");
        assert!(shell.contains("tee writes a file"), "{shell}");
        let report = "for line in iter(input, ''): print('reporter:counter:a,b,1'";
        assert!(python(&format!("{report})\n")).contains("standard error only"));
        assert_eq!(python(&format!("import sys\n{report}, file=sys.stderr)\n")), "");
    }

    #[test]
    fn the_order_of_a_sort_in_a_script_is_that_of_bytes_or_it_is_said() {
        let shell = |code: &str| look("m.sh", Place::ArgumentOf("sh"), code);
        assert!(shell("cut -f1 | sort | uniq -c").contains("LC_ALL=C"));
        assert_eq!(shell("export LC_ALL=C\nsort | uniq -c"), "");
        assert_eq!(shell("LC_ALL=C sort"), "");
        assert_eq!(shell("grep sort"), "");
    }
}
