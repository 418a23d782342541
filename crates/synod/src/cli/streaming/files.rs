//! `hadoop fs`: the commands for files that launchers use, over the files of this machine.
//!
//! Messages and exit codes are Hadoop's: `ls: \`x': No such file or directory`, 1 if something went
//! wrong. A command goes on with its other arguments after one has failed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use synod::jobs::streaming::files::open_text;
use synod::jobs::streaming::locations::Locations;

use super::listing::{Item, named};
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::streaming::run::locations;

/// `fs WORDS`.
pub fn run(words: &[String]) -> Outcome {
    // Generic options may stand in front.
    let mut words = words;
    while let [option, _, rest @ ..] = words
        && ["-D", "-fs", "-conf", "-jt"].contains(&option.as_str())
    {
        words = rest;
    }
    let Some((command, rest)) = words.split_first() else {
        return Err(Failure::WrongUse(format!("fs: name a command: {KNOWN}")));
    };
    let Some(name) = command.strip_prefix('-') else {
        return Err(Failure::WrongUse(format!("fs: `{command}` does not begin with a hyphen")));
    };
    let (flags, arguments) = flags(rest);
    let shell = Shell {
        name,
        flags,
        arguments,
        locations: locations(),
        failed: std::cell::Cell::new(false),
    };
    let done = match name {
        "ls" => shell.list(shell.has('R')),
        "lsr" => shell.list(true),
        "mkdir" => shell.make_folders(),
        "put" | "copyFromLocal" => shell.put(false),
        "moveFromLocal" => shell.put(true),
        "get" | "copyToLocal" => shell.get(),
        "getmerge" => shell.get_merged(),
        "cat" => shell.print(false),
        "text" => shell.print(true),
        "rm" => shell.remove(shell.has('r') || shell.has('R')),
        "rmr" => shell.remove(true),
        "test" => return shell.test(),
        "du" => shell.usage(shell.has('s')),
        "dus" => shell.usage(true),
        "touchz" => shell.touch(),
        "mv" => shell.move_or_copy(true),
        "cp" => shell.move_or_copy(false),
        _ => {
            return Err(Failure::WrongUse(format!("fs: -{name} is not known here: {KNOWN}")));
        }
    };
    match done {
        Ok(()) if !shell.failed.get() => Ok(()),
        Ok(()) => Err(Failure::Code(1)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            eprintln!("{name}: {error}");
            Err(Failure::Code(1))
        }
    }
}

const KNOWN: &str = "-ls, -lsr, -mkdir, -put, -copyFromLocal, -moveFromLocal, -get, -copyToLocal, \
                     -getmerge, -cat, -text, -rm, -rmr, -test, -du, -dus, -touchz, -mv, -cp are";

/// The options before the arguments: single letters, and `-skipTrash` and its like, which do nothing.
fn flags(words: &[String]) -> (String, Vec<&str>) {
    let mut letters = String::new();
    let mut arguments = Vec::new();
    for word in words {
        match word.strip_prefix('-') {
            Some("skipTrash" | "safely" | "ignoreCrc" | "crc" | "nl") => {}
            Some(flags) if arguments.is_empty() && !flags.is_empty() => letters.push_str(flags),
            _ => arguments.push(word.as_str()),
        }
    }
    (letters, arguments)
}

struct Shell<'a> {
    name: &'a str,
    flags: String,
    arguments: Vec<&'a str>,
    locations: Locations,
    failed: std::cell::Cell<bool>,
}

impl Shell<'_> {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// Says what is wrong with an argument, in Hadoop's words.
    fn complain(&self, shown: &str, what: &str) {
        self.failed.set(true);
        eprintln!("{}: `{shown}': {what}", self.name);
    }

    fn complain_of(&self, shown: &str, error: &io::Error) {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "No such file or directory".to_owned(),
            io::ErrorKind::AlreadyExists => "File exists".to_owned(),
            io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
            _ => error.to_string(),
        };
        self.complain(shown, &what);
    }

    fn resolve(&self, word: &str) -> io::Result<PathBuf> {
        self.locations.resolve(word).map_err(|error| io::Error::other(error.to_string()))
    }

    /// What an argument names; says so if that is nothing.
    fn items(&self, word: &str) -> io::Result<Vec<Item>> {
        let items = named(word, &self.locations).map_err(io::Error::other)?;
        if items.is_empty() {
            self.complain(word, "No such file or directory");
        }
        Ok(items)
    }

    /// Does something with each thing that the arguments name.
    fn for_each(&self, mut act: impl FnMut(&Item) -> io::Result<()>) -> io::Result<()> {
        for word in &self.arguments {
            for item in self.items(word)? {
                match act(&item) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
                    Err(error) => self.complain_of(&item.shown, &error),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    fn list(&self, recursive: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.for_each(|item| {
            if !item.metadata()?.is_dir() || self.has('d') {
                return writeln!(out, "{}", item.line()?);
            }
            if recursive {
                return list_below(item, &mut out);
            }
            let children = item.children()?;
            if !children.is_empty() {
                writeln!(out, "Found {} items", children.len())?;
            }
            for child in children {
                writeln!(out, "{}", child.line()?)?;
            }
            Ok(())
        })
    }

    fn make_folders(&self) -> io::Result<()> {
        for word in &self.arguments {
            let path = self.resolve(word)?;
            let made =
                if self.has('p') { fs::create_dir_all(&path) } else { fs::create_dir(&path) };
            if let Err(error) = made {
                self.complain_of(word, &error);
            }
        }
        Ok(())
    }

    /// The last argument, and the others.
    fn with_target(&self) -> io::Result<(PathBuf, &str, &[&str])> {
        match self.arguments.split_last() {
            Some((target, sources)) if !sources.is_empty() => {
                Ok((self.resolve(target)?, target, sources))
            }
            _ => Err(io::Error::other("name what to take and where to put it")),
        }
    }

    /// Where a source goes: into a folder, or to the name itself.
    fn place(&self, target: &Path, source: &Path, several: bool) -> io::Result<PathBuf> {
        if target.is_dir() {
            return Ok(target.join(source.file_name().unwrap_or_default()));
        }
        if several {
            let what = format!("`{}': Not a directory", target.display());
            return Err(io::Error::other(what));
        }
        Ok(target.to_owned())
    }

    fn put(&self, moves: bool) -> io::Result<()> {
        let (target, shown, sources) = self.with_target()?;
        for source in sources {
            if *source == "-" {
                let mut file = self.create(&target)?;
                io::copy(&mut io::stdin().lock(), &mut file)?;
                continue;
            }
            // Sources are local, whatever the default file system is.
            let local = Locations::default().resolve(source);
            let local = local.map_err(|error| io::Error::other(error.to_string()))?;
            let place = self.place(&target, &local, sources.len() > 1)?;
            if let Err(error) = self.copy(&local, &place) {
                let shown = if error.kind() == io::ErrorKind::NotFound { source } else { shown };
                self.complain_of(shown, &error);
            } else if moves {
                remove(&local)?;
            }
        }
        Ok(())
    }

    fn get(&self) -> io::Result<()> {
        let (_, target, sources) = self.with_target()?;
        let target = PathBuf::from(target.strip_prefix("file://").unwrap_or(target));
        for source in sources {
            for item in self.items(source)? {
                let place = self.place(&target, &item.path, sources.len() > 1)?;
                if let Err(error) = self.copy(&item.path, &place) {
                    self.complain_of(&item.shown, &error);
                }
            }
        }
        Ok(())
    }

    fn get_merged(&self) -> io::Result<()> {
        let (target, _, sources) = self.with_target()?;
        let mut out = File::create(target)?;
        for source in sources {
            for item in self.items(source)? {
                let files = if item.metadata()?.is_dir() { item.children()? } else { vec![item] };
                for file in files.iter().filter(|file| file.path.is_file()) {
                    io::copy(&mut File::open(&file.path)?, &mut out)?;
                }
            }
        }
        Ok(())
    }

    fn print(&self, unpacked: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.for_each(|item| {
            if item.metadata()?.is_dir() {
                self.complain(&item.shown, "Is a directory");
                return Ok(());
            }
            if unpacked {
                let mut content = open_text(&item.path).map_err(io::Error::other)?;
                io::copy(&mut content, &mut out)?;
            } else {
                io::copy(&mut File::open(&item.path)?, &mut out)?;
            }
            Ok(())
        })
    }

    fn remove(&self, with_folders: bool) -> io::Result<()> {
        for word in &self.arguments {
            let items = named(word, &self.locations).map_err(io::Error::other)?;
            if items.is_empty() && !self.has('f') {
                self.complain(word, "No such file or directory");
            }
            for item in items {
                let is_folder = item.path.symlink_metadata()?.is_dir();
                let is_root = self.locations.hdfs_root.as_deref() == Some(item.path.as_path());
                if is_root || item.path == Path::new("/") {
                    self.complain(&item.shown, "the root is not removed");
                } else if is_folder && !with_folders {
                    self.complain(&item.shown, "Is a directory");
                } else if let Err(error) = remove(&item.path) {
                    self.complain_of(&item.shown, &error);
                } else {
                    writeln!(io::stdout(), "Deleted {}", item.shown)?;
                }
            }
        }
        Ok(())
    }

    /// Says it by the exit code.
    fn test(&self) -> Outcome {
        let word = self.arguments.first().copied().unwrap_or_default();
        let items = named(word, &self.locations).map_err(Failure::Failed)?;
        let metadata = items.first().and_then(|item| item.metadata().ok());
        let holds = metadata.is_some_and(|metadata| {
            self.flags.chars().all(|flag| match flag {
                'e' => true,
                'd' => metadata.is_dir(),
                'f' => metadata.is_file(),
                'z' => metadata.len() == 0 && metadata.is_file(),
                's' => metadata.len() > 0,
                _ => false,
            })
        });
        if holds && !self.flags.is_empty() { Ok(()) } else { Err(Failure::Code(1)) }
    }

    fn usage(&self, summed: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.for_each(|item| {
            let items = if item.metadata()?.is_dir() && !summed {
                item.children()?
            } else {
                vec![item.clone()]
            };
            for item in items {
                let bytes = item.bytes()?;
                writeln!(out, "{bytes}  {bytes}  {}", item.shown)?;
            }
            Ok(())
        })
    }

    fn touch(&self) -> io::Result<()> {
        for word in &self.arguments {
            let path = self.resolve(word)?;
            match path.metadata() {
                Ok(metadata) if metadata.len() > 0 || metadata.is_dir() => {
                    self.complain(word, "Not a zero-length file");
                }
                _ => {
                    if let Err(error) = File::create(&path) {
                        self.complain_of(word, &error);
                    }
                }
            }
        }
        Ok(())
    }

    fn move_or_copy(&self, moves: bool) -> io::Result<()> {
        let (target, shown, sources) = self.with_target()?;
        for source in sources {
            for item in self.items(source)? {
                let place = self.place(&target, &item.path, sources.len() > 1)?;
                let done = if moves {
                    self.free(&place).and_then(|()| fs::rename(&item.path, &place))
                } else {
                    self.copy(&item.path, &place)
                };
                if let Err(error) = done {
                    self.complain_of(shown, &error);
                }
            }
        }
        Ok(())
    }

    /// Fails if something is at the place and need not go.
    fn free(&self, place: &Path) -> io::Result<()> {
        if place.symlink_metadata().is_ok() && !self.has('f') {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn create(&self, place: &Path) -> io::Result<File> {
        self.free(place)?;
        File::create(place)
    }

    fn copy(&self, source: &Path, place: &Path) -> io::Result<()> {
        if !source.metadata()?.is_dir() {
            self.free(place)?;
            return fs::copy(source, place).map(drop);
        }
        fs::create_dir_all(place)?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            self.copy(&entry.path(), &place.join(entry.file_name()))?;
        }
        Ok(())
    }
}

fn list_below(item: &Item, out: &mut impl Write) -> io::Result<()> {
    for child in item.children()? {
        writeln!(out, "{}", child.line()?)?;
        if child.path.symlink_metadata()?.is_dir() {
            list_below(&child, out)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
