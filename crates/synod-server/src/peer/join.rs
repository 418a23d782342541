//! A new member's first question: who am I? `member add` gave it an id in the running cluster; it
//! finds itself there by its peer address.

use std::time::Duration;

use synod_node::Member;
use synod_node::member::host_and_port;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::hello::{Hello, HelloAnswer, JoinAnswer};
use super::link::exchange;
use crate::error::JoinError;

/// Asks the others in turn until one lists a member with one of `own_urls`. Returns the answer and
/// that member.
pub(crate) async fn join_cluster(
    own_urls: &[String],
    others: &[String],
    patience: Duration,
) -> Result<(JoinAnswer, Member), JoinError> {
    if others.is_empty() {
        return Err(JoinError::NobodyToAsk);
    }
    let deadline = Instant::now() + patience;
    let mut last = String::new();
    loop {
        for other in others {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left.min(ASK_TIMEOUT), ask(host_and_port(other))).await {
                Ok(Ok(answer)) => match find(&answer.members, own_urls) {
                    Some(member) => return Ok((answer, member)),
                    None => last = format!("{other} does not list it"),
                },
                Ok(Err(why)) => last = format!("{other}: {why}"),
                Err(_) => last = format!("{other}: no answer in time"),
            }
        }
        if Instant::now() >= deadline {
            return Err(JoinError::NotFound { urls: own_urls.join(", "), last });
        }
        sleep(PAUSE).await;
    }
}

async fn ask(address: &str) -> Result<JoinAnswer, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    match exchange(&mut stream, &Hello::Join).await? {
        HelloAnswer::Members(answer) => Ok(answer),
        HelloAnswer::Refused(refusal) => Err(format!("refused: {refusal}")),
        HelloAnswer::Welcome => Err("it answered another question".into()),
    }
}

fn find(members: &[Member], own_urls: &[String]) -> Option<Member> {
    let own = |url: &String| own_urls.iter().any(|u| host_and_port(u) == host_and_port(url));
    members.iter().find(|member| member.peer_urls.iter().any(own)).cloned()
}

/// How long one member may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Between rounds.
const PAUSE: Duration = Duration::from_millis(200);
