//! A first start asks the others. A new member asks who it is: `member add` gave it an id in the running
//! cluster; it finds itself there by its peer address. And every first start asks whether it really is
//! one: a member that has run before and lost its folder may have voted, and acknowledged entries that it
//! no longer has, so under its old id it must never take part again.
//!
//! What proves that a member has run: the others list addresses for its clients, which a member publishes
//! only after its first start has come to its end. What this cannot see: a folder lost before that was
//! replicated, and one lost while nobody who knows better answers.
//!
//! If only members that lag answer, a new member may take an id that was removed before it ever ran. That
//! cannot hurt the cluster: the old id has never voted nor acknowledged anything, so a quorum without it
//! holds the removal, and whoever stands for election among members that have not heard of it needs the
//! vote of one of that quorum, who refuses. The node itself waits for a leader in vain, because members that
//! know drop what a removed one says: empty its folder and start it again.

use std::time::Duration;

use futures_util::future::join_all;
use synod_base::{ClusterId, NodeId};
use synod_node::Member;
use synod_node::member::host_and_port;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::hello::{Hello, HelloAnswer, JoinAnswer};
use super::link::exchange;
use crate::error::JoinError;

/// Asks the others again and again until one lists a member with one of `own_urls` that none of them has
/// seen running. Returns the answer and that member. One that lags may still list a former member with this
/// address, or may not know yet that a member has run: what counts is what all say of an id.
pub(crate) async fn join_cluster(
    own_urls: &[String],
    others: &[String],
    patience: Duration,
) -> Result<(JoinAnswer, Member), JoinError> {
    if others.is_empty() {
        return Err(JoinError::NobodyToAsk);
    }
    let deadline = Instant::now() + patience;
    // Kept from round to round: the last one may have too little time for an answer.
    let mut ran_before = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answers = ask_all(others, left.min(ASK_TIMEOUT)).await;
        let mut fresh: Vec<(JoinAnswer, Member)> = Vec::new();
        let mut ran: Vec<(&String, NodeId)> = Vec::new();
        let mut last = String::new();
        let mut all_list_it = true;
        for (other, answer) in others.iter().zip(answers) {
            match answer {
                Ok(answer) => match find(&answer.members, own_urls) {
                    Some(member) if has_run(&member) => ran.push((other, member.id)),
                    Some(member) => fresh.push((answer, member)),
                    None => (last, all_list_it) = (format!("{other} does not list it"), false),
                },
                Err(why) => (last, all_list_it) = (format!("{other}: {why}"), false),
            }
        }
        fresh.retain(|(_, member)| ran.iter().all(|(_, id)| *id != member.id));
        // Ids are never given twice; should lagging members list two, the others' answers tell in time.
        let agree = fresh.iter().all(|(_, member)| member.id == fresh[0].1.id);
        if agree && let Some(found) = fresh.into_iter().next() {
            return Ok(found);
        }
        if let Some((peer, member)) = ran.first() {
            ran_before = Some(JoinError::RanBefore { peer: (*peer).clone(), member: *member });
        }
        // Nobody is left who may know better.
        let is_certain = all_list_it && !ran.is_empty() && agree;
        if is_certain || Instant::now() >= deadline {
            let not_found = || JoinError::NotFound { urls: own_urls.join(", "), last };
            return Err(ran_before.unwrap_or_else(not_found));
        }
        sleep(PAUSE).await;
    }
}

/// Asks the other first members of a cluster once, before this one founds it with them. Most will not
/// run yet; but one that does may know that this member has run before, or that it was removed.
pub(crate) async fn check_founder(
    cluster: ClusterId,
    own: NodeId,
    others: &[String],
) -> Result<(), JoinError> {
    let answers = ask_all(others, FOUNDER_ASK_TIMEOUT).await;
    for (peer, answer) in others.iter().zip(answers) {
        let Ok(JoinAnswer { cluster: theirs, members }) = answer else { continue };
        // Another cluster will not talk to this node; a table not yet filled says nothing.
        if theirs != cluster || members.is_empty() {
            continue;
        }
        let peer = peer.clone();
        match members.iter().find(|member| member.id == own) {
            Some(member) if has_run(member) => {
                return Err(JoinError::RanBefore { peer, member: own });
            }
            Some(_) => {}
            None => return Err(JoinError::Removed { peer, member: own }),
        }
    }
    Ok(())
}

/// What each says, in their order.
async fn ask_all(others: &[String], patience: Duration) -> Vec<Result<JoinAnswer, String>> {
    let ask_one = async |other: &String| {
        timeout(patience, ask(host_and_port(other)))
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
    };
    join_all(others.iter().map(ask_one)).await
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

fn has_run(member: &Member) -> bool {
    !member.client_urls.is_empty()
}

/// How long one member may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a founder: where nobody listens yet it is told at once, so this is only spent on a
/// machine that is away, or a process that is just being started.
const FOUNDER_ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Between rounds.
const PAUSE: Duration = Duration::from_millis(200);
