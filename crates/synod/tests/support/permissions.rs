//! Processes to which file permissions apply. Root passes over them, by capabilities that it can be
//! started without; everybody else is bound anyway.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::leave_out;

/// What a program is to be started with so that permissions apply to it: nothing, or `setpriv` with
/// arguments. `None` if the test is to be left out.
pub fn enforced() -> Option<Vec<String>> {
    let folder = TempDir::new().expect("a folder can be made");
    let path = folder.path().join("secret");
    fs::write(&path, "secret").expect("a file can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("it is ours");
    if File::open(&path).is_err() {
        return Some(Vec::new());
    }
    let tried = Command::new("setpriv").args([WITHOUT_OVERRIDES, "cat"]).arg(&path).output();
    match tried {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("cat: ") => {
            Some(["setpriv", WITHOUT_OVERRIDES].map(str::to_owned).to_vec())
        }
        refused => {
            leave_out(
                &format!("what may not be read: root may read all, and setpriv says {refused:?}"),
                "SYNOD_TEST_REQUIRE_SETPRIV",
            );
            None
        }
    }
}

const WITHOUT_OVERRIDES: &str = "--bounding-set=-dac_override,-dac_read_search";
