//! Parsers of single values on the command line and in the settings file.

use std::time::Duration;

use synod::LeaseId;
use synod::NodeId;
use synod::jobs::cluster::TaskId;

/// `250ms`, `10s`, `5m`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let bad = || format!("`{text}` is not a duration; write 250ms, 10s or 5m");
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let milliseconds_each = match &text[digits..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => return Err(bad()),
    };
    number.checked_mul(milliseconds_each).map(Duration::from_millis).ok_or_else(bad)
}

/// `n1=host:port,n2=host:port`; a name may come twice, with two addresses.
pub fn initial_cluster(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(initial_member).collect()
}

fn initial_member(part: &str) -> Result<(String, String), String> {
    match part.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => {
            Ok((name.to_owned(), url.to_owned()))
        }
        _ => Err(format!("`{part}` is not a member; write name=host:port")),
    }
}

/// `m12` or `m000012`: a map; `r0`: a reduce.
pub fn task_id(text: &str) -> Result<TaskId, String> {
    let bad = || format!("`{text}` is not a task; write m12 for a map, r0 for a reduce");
    let (kind, digits) = text.split_at_checked(1).ok_or_else(bad)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number = digits.parse().map_err(|_| bad())?;
    match kind {
        "m" => Ok(TaskId::map(number)),
        "r" => Ok(TaskId::reduce(number)),
        _ => Err(bad()),
    }
}

/// A lease id, in hexadecimal as it is printed.
pub fn lease_id(text: &str) -> Result<LeaseId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match i64::from_str_radix(digits, 16) {
        Ok(id) if id > 0 => Ok(LeaseId(id)),
        _ => Err(format!("`{text}` is not a lease id; write it as `synod lease list` does")),
    }
}

/// A member id, in hexadecimal as it is printed.
pub fn member_id(text: &str) -> Result<NodeId, String> {
    match u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16) {
        Ok(id) if id > 0 => Ok(NodeId(id)),
        _ => Err(format!("`{text}` is not a member id; write it as `synod member list` does")),
    }
}

/// Whether a listen address can be reached only from this machine; `None` for a host name that has to
/// be looked up.
pub fn is_loopback(address: &str) -> Option<bool> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" {
        return Some(true);
    }
    host.parse::<std::net::IpAddr>().ok().map(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1h", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615m"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_initial_cluster_is_names_and_addresses() {
        let read = initial_cluster("n1=127.0.0.1:2380, n2=http://h:1").unwrap();
        let want = [("n1", "127.0.0.1:2380"), ("n2", "http://h:1")];
        assert_eq!(read, want.map(|(name, url)| (name.to_owned(), url.to_owned())));
        assert_eq!(initial_cluster(""), Ok(Vec::new()));
        for bad in ["n1", "=x", "n1=", "n1=a,b"] {
            assert!(initial_cluster(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let id = LeaseId(0x7587_1234);
        assert_eq!(lease_id(&id.to_string()), Ok(id));
        let id = NodeId(u64::MAX);
        assert_eq!(member_id(&id.to_string()), Ok(id));
        for bad in ["", "0", "-1", "xyz", "ffffffffffffffffff"] {
            assert!(lease_id(bad).is_err() && member_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_world() {
        for here in ["127.0.0.1:1", "http://127.0.0.9:1", "[::1]:1", "http://localhost:1"] {
            assert_eq!(is_loopback(here), Some(true), "{here}");
        }
        for world in ["0.0.0.0:1", "http://10.0.0.1:1", "[::]:1"] {
            assert_eq!(is_loopback(world), Some(false), "{world}");
        }
        assert_eq!(is_loopback("db.example:1"), None);
    }
}
