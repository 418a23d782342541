//! A member of the cluster, as the replicated member table knows it.

use synod_base::{DecodeError, Decoder, Encoder, NodeId};

/// One member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where it listens for peers, as given (`host:port` or `http://host:port`).
    pub peer_urls: Vec<String>,
    /// Where it listens for clients, as URLs; empty until it has started.
    pub client_urls: Vec<String>,
    /// It does not vote.
    pub is_learner: bool,
}

impl Member {
    /// Appends all fields.
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.id.0).str(&self.name).bool(self.is_learner);
        for urls in [&self.peer_urls, &self.client_urls] {
            out.var(urls.len() as u64);
            for url in urls {
                out.str(url);
            }
        }
    }

    /// Reads what [`Member::encode`] wrote.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let id = NodeId(input.u64("member id")?);
        let name = input.str("member name")?;
        let is_learner = input.bool("member is learner")?;
        let mut lists: [Vec<String>; 2] = Default::default();
        for urls in &mut lists {
            for _ in 0..input.count("member url count")? {
                urls.push(input.str("member url")?);
            }
        }
        let [peer_urls, client_urls] = lists;
        Ok(Member { id, name, peer_urls, client_urls, is_learner })
    }

    /// The `host:port` of the first peer URL.
    #[must_use]
    pub fn peer_address(&self) -> Option<&str> {
        self.peer_urls.first().map(|url| host_and_port(url))
    }
}

/// A URL without its scheme and path.
#[must_use]
pub fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
