//! How much memory the tasks of jobs may take on this machine, whatever those who submit jobs ask for.
//!
//! Unless it is told, a half of what the process may have: of the machine's memory, or of the least limit of
//! the control groups that it is in. The other half is for the store, for programs that jobs run, and for
//! whatever else the machine does.

use std::fs;
use std::path::Path;

use synod_jobs::JobSpec;

/// What one task needs: its least buffer, what it reads and writes with, two sources of a merge.
const LEAST_TASK_BYTES: u64 = 1 << 20;

/// The least for so many tasks at a time.
pub(super) fn least_for(slots: u32) -> u64 {
    LEAST_TASK_BYTES * u64::from(slots)
}

/// A half of what this process may have; `None`: the system does not say.
pub(super) fn half_of_this_machine() -> Option<u64> {
    memory_below(Path::new("/")).map(|bytes| bytes / 2)
}

/// A job as it runs here, and what is to be said if that is with less memory than it asks for.
pub(super) fn within(spec: &JobSpec, own_bytes: Option<u64>) -> (JobSpec, Option<String>) {
    let asked = spec.memory_bytes;
    let Some(own) = own_bytes.filter(|own| *own < asked) else { return (spec.clone(), None) };
    let why = format!(
        "this node gives jobs {} MiB of memory, this one asks for {}: it runs with less (--job-memory)",
        own >> 20,
        asked >> 20
    );
    (spec.clone().within_memory(own), Some(why))
}

/// What a process may have of the machine whose files are below this folder.
fn memory_below(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let machine = kibibytes << 10;
    Some(group_limit(root).map_or(machine, |limit| limit.min(machine)))
}

/// The least limit of the control groups that this process is in.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (folder, file) = match kinds {
            // Version 2, and version 1.
            "" => ("sys/fs/cgroup", "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let folder = root.join(folder);
        // A limit above holds for all below it; in a container the paths above may not be there.
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        groups.map(|group| folder.join(group).join(file)).collect()
    });
    // Without a limit the file says `max`, or a number that no machine has.
    limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine of 8 GiB with these further files.
    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  12 kB\n");
        for (name, text) in [meminfo].iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_below(root.path())
    }

    #[test]
    fn the_least_limit_of_machine_and_control_groups_holds() {
        assert_eq!(machine(&[]), Some(8 * GIB));
        let group = |of: &'static str| ("proc/self/cgroup", of);
        let v2 = group("0::/a/b\n");
        assert_eq!(machine(&[v2]), Some(8 * GIB));
        let inner = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        let outer = ("sys/fs/cgroup/a/memory.max", "2147483648\n");
        assert_eq!(machine(&[v2, inner, outer]), Some(2 * GIB));
        // As a container sees it.
        let own = ("sys/fs/cgroup/memory.max", "1073741824\n");
        assert_eq!(machine(&[group("0::/\n"), own]), Some(GIB));
        assert_eq!(machine(&[v2, own]), Some(GIB));
        let v1 = group("5:cpu,cpuacct:/x\n4:memory:/x\n");
        let none = ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[v1, none]), Some(8 * GIB));
        let some = ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3221225472\n");
        assert_eq!(machine(&[v1, some]), Some(3 * GIB));
        assert_eq!(memory_below(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_job_gets_what_it_asks_for_or_what_there_is_and_takes_the_same_records() {
        let asks = JobSpec { memory_bytes: 4 * GIB, ..JobSpec::new("sort", ["in"], "out") };
        for own in [None, Some(4 * GIB), Some(5 * GIB)] {
            assert_eq!(within(&asks, own), (asks.clone(), None));
        }
        let (gets, why) = within(&asks, Some(GIB / 2));
        assert_eq!(gets.memory_bytes, GIB / 2);
        assert!(gets.max_record() == asks.max_record(), "which are too long is the job's to say");
        let why = why.unwrap();
        assert!(why.contains("512 MiB") && why.contains("4096"), "{why}");
    }
}
