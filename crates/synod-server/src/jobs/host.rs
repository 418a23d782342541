//! What this process is and where it runs: its build, and whether another process sees the same files.

use std::sync::OnceLock;

/// Equal in processes of one machine that see the same files under the same paths: the boot of its
/// kernel, and the process's own view of the file systems. Empty where that cannot be told.
pub(crate) fn host_of_this_process() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let mounts = std::fs::read_link("/proc/self/ns/mnt");
    let (Ok(boot), Ok(mounts)) = (boot, mounts) else { return String::new() };
    let digits: String = mounts.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    if digits.is_empty() { String::new() } else { format!("{}-{digits}", boot.trim()) }
}

/// The version and a checksum of this program, of whatever embeds this library: workers with the same one
/// have the same jobs. The file is read once, the first time.
pub(super) fn build_of_this_program() -> String {
    static BUILD: OnceLock<String> = OnceLock::new();
    let version = env!("CARGO_PKG_VERSION");
    let checksum = || -> std::io::Result<u32> {
        let mut file = std::fs::File::open(std::env::current_exe()?)?;
        checksum_of(&mut file)
    };
    let build = BUILD.get_or_init(|| match checksum() {
        Ok(checksum) => format!("{version}-{checksum:08x}"),
        Err(_) => version.to_owned(),
    });
    build.clone()
}

fn checksum_of(file: &mut impl std::io::Read) -> std::io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let mut checksum = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum),
            read => checksum = synod_base::checksum::crc32c_append(checksum, &buffer[..read]),
        }
    }
}
