//! Ids that every first member works out alone and alike, from nothing but the options.
//!
//! FNV-1a, 64 bits, over length-prefixed fields: stable for ever, because it names data on disk. A
//! result of 0 (nobody's id) is taken as 1. Ids of members added later are made by the cluster.

use synod_base::{ClusterId, NodeId};
use synod_node::Member;
use synod_node::member::host_and_port;

/// The id of a first member.
pub(crate) fn member_id(token: &str, name: &str, peer_url: &str) -> NodeId {
    NodeId(hash(&["member", token, name, host_and_port(peer_url)]))
}

/// The id of a cluster of these first members, in whatever order they are named.
pub(crate) fn cluster_id(token: &str, members: &[Member]) -> ClusterId {
    let mut lines: Vec<String> = members
        .iter()
        .flat_map(|m| {
            m.peer_urls.iter().map(move |url| format!("{}={}", m.name, host_and_port(url)))
        })
        .collect();
    lines.sort_unstable();
    let mut fields = vec!["cluster", token];
    fields.extend(lines.iter().map(String::as_str));
    ClusterId(hash(&fields))
}

/// The first members, ascending by id: one per name, with all its URLs.
pub(crate) fn first_members(token: &str, initial_cluster: &[(String, String)]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for (name, url) in initial_cluster {
        match members.iter_mut().find(|m| m.name == *name) {
            Some(member) => member.peer_urls.push(url.clone()),
            None => members.push(Member {
                id: member_id(token, name, url),
                name: name.clone(),
                peer_urls: vec![url.clone()],
                ..Member::default()
            }),
        }
    }
    members.sort_unstable_by_key(|m| m.id);
    members
}

fn hash(fields: &[&str]) -> u64 {
    let mut hash = FNV_OFFSET;
    for field in fields {
        for byte in (field.len() as u64).to_le_bytes().iter().chain(field.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash.max(1)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(entries: &[(&str, &str)]) -> Vec<Member> {
        let entries: Vec<_> = entries.iter().map(|(n, u)| ((*n).into(), (*u).into())).collect();
        first_members("t", &entries)
    }

    #[test]
    fn every_member_works_out_the_same_ids_whatever_the_order_and_scheme() {
        let one = cluster(&[("a", "h:1"), ("b", "h:2"), ("b", "h:3")]);
        let two = cluster(&[("b", "http://h:2"), ("b", "h:3"), ("a", "http://h:1/")]);
        assert_eq!(cluster_id("t", &one), cluster_id("t", &two));
        assert_eq!(one.iter().map(|m| m.id).collect::<Vec<_>>(), [two[0].id, two[1].id]);
        assert_ne!(cluster_id("t", &one), cluster_id("u", &one));
        assert_ne!(cluster_id("t", &one), cluster_id("t", &one[..1]));
    }

    #[test]
    fn ids_never_change_between_versions() {
        assert_eq!(hash(&[]), FNV_OFFSET);
        assert_eq!(member_id("synod-cluster", "n1", "127.0.0.1:2380").0, GOLDEN_MEMBER_ID);
    }

    const GOLDEN_MEMBER_ID: u64 = 18_358_730_408_064_484_701;
}
