//! The output folder of a job, read and compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The part files by name. The output is complete and holds nothing else.
pub fn parts(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(output).expect("the output is there") {
        let path = entry.expect("the output can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        parts.insert(name, fs::read(path).expect("a part can be read"));
    }
    assert!(parts.remove("_SUCCESS").is_some(), "{:?}", parts.keys());
    assert!(parts.keys().all(|name| name.starts_with("part-")), "{:?}", parts.keys());
    parts
}

/// Compares without printing megabytes.
#[track_caller]
pub fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>) {
    assert!(left.keys().eq(right.keys()));
    for (name, bytes) in left {
        let other = &right[name];
        let same = bytes.iter().zip(other).take_while(|(left, right)| left == right).count();
        let around = |bytes: &[u8]| {
            let end = bytes.len().min(same + 40);
            bytes[same.min(end)..end].escape_ascii().to_string()
        };
        assert!(
            bytes == other,
            "{name}: {} bytes and {}, which differ from byte {same} on: `{}` and `{}`",
            bytes.len(),
            other.len(),
            around(bytes),
            around(other)
        );
    }
}
