//! Small disks for tests: a tmpfs in a mount namespace of its own. Where that is not allowed the tests say so
//! and pass, unless SYNOD_TEST_REQUIRE_MOUNT=1.

use std::process::Command;

use super::leave_out;

/// How `unshare` gets a namespace in which `folder` can be mounted on, and how `nsenter` enters it: as
/// root, or as root of a user namespace. `None` if both are refused.
pub fn way_to_mount(folder: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    let ways: [(&[&str], &[&str]); 2] =
        [(&["-m"], &["-m"]), (&["-rm"], &["-U", "-m", "--preserve-credentials"])];
    let script = format!("mount -t tmpfs -o size=1m none '{folder}'");
    let mut refusals = Vec::new();
    for (unshare, enter) in ways {
        match Command::new("unshare").args(unshare).args(["sh", "-c", &script]).output() {
            Ok(output) if output.status.success() => return Some((unshare, enter)),
            Ok(output) => refusals.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let what = format!("a full disk: nothing can be mounted ({})", refusals.join("; "));
    leave_out(&what, "SYNOD_TEST_REQUIRE_MOUNT");
    None
}
