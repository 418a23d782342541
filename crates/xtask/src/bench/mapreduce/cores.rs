//! Holds what is measured to two cores, however many the machine has.
//!
//! Each program is told to use two threads, but most have others beside these, and three nodes share two
//! cores only if the system lets them have no more. Who starts a program hands on the cores it may use
//! itself, so it is enough that this thread gives up the others. Nodes share what they find, one task each.

use std::fs;
use std::process::Command;

use crate::step;

/// As many of the first cores as were wanted, for this thread and what it starts; all of them again when
/// dropped.
pub struct Held {
    thread: String,
    /// As the system writes it, if cores were given up.
    before: Option<String>,
}

/// Threads that each program has, and cores for all of them.
pub const CORES: usize = 2;

/// Gives up all but this many cores, or says why that cannot be done.
pub fn hold(cores: usize) -> Result<Held, String> {
    let own = fs::read_link("/proc/thread-self").ok();
    let thread = own.as_ref().and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let (Some(thread), Some(allowed)) = (thread, allowed.map(str::trim)) else {
        return Err("the system does not say which cores there are".to_owned());
    };
    let mut held = Held { thread, before: None };
    if let Some(fewer) = first_of(allowed, cores) {
        held.allow(&fewer)?;
        held.before = Some(allowed.to_owned());
    }
    Ok(held)
}

impl Held {
    fn allow(&self, cores: &str) -> Result<(), String> {
        let mut taskset = Command::new("taskset");
        let said = step::output(taskset.args(["--pid", "--cpu-list", cores, &self.thread]));
        said.map(drop).map_err(|error| format!("{error:#}"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(why) = self.before.as_ref().and_then(|before| self.allow(before).err()) {
            eprintln!("bench: what follows has {CORES} cores, too: {why}");
        }
    }
}

/// The first cores of a list such as `0-3,8`, unless it has no more than that.
fn first_of(list: &str, cores: usize) -> Option<String> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    let all: Vec<String> = ranges.flatten().map(|core| core.to_string()).collect();
    (all.len() > cores).then(|| all[..cores].join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cores_of_many_are_chosen_and_few_are_left_alone() {
        assert_eq!(first_of("0-15", 2).as_deref(), Some("0,1"));
        assert_eq!(first_of("3,6-8,12", 3).as_deref(), Some("3,6,7"));
        for few in ["0-1", "4,9", "5"] {
            assert_eq!(first_of(few, 2), None, "{few}");
        }
    }

    #[test]
    fn a_program_has_the_held_cores_until_they_are_given_back() {
        let allowed = || {
            let mut grep = Command::new("grep");
            step::output(grep.args(["Cpus_allowed_list", "/proc/self/status"])).unwrap()
        };
        let before = allowed();
        let held = hold(1).unwrap();
        let text = String::from_utf8(allowed()).unwrap();
        let (_, list) = text.trim().split_once('\t').unwrap();
        assert!(list.parse::<u32>().is_ok(), "one core: {list}");
        drop(held);
        assert_eq!(allowed(), before);
    }
}
