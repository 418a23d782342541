//! Leases that kept their promise, and one for each way to break it.

use std::slice::from_ref;

use bytes::Bytes;
use synod_base::LeaseId;

use super::super::story::*;
use super::*;

const SECOND: TrueTime = 1_000_000_000;

/// Two keys on lease 7, whose end is revision 4.
fn story() -> Story {
    let mut story = Story::default();
    story.ask(1, put_leased("a", "1", 7));
    story.ask(1, put_leased("b", "2", 7));
    let _ = story.happen(&revoke(7));
    story
}

/// Granted for 5 seconds at 1, renewed at 3: alive until 8. Ended at 8.5.
fn lease() -> LeaseLog {
    LeaseLog {
        id: LeaseId(7),
        ttl_seconds: 5,
        renewed: vec![SECOND, 3 * SECOND],
        revoked: None,
        ended: Some((8 * SECOND + SECOND / 2, Revision(4))),
        keys: vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")],
    }
}

fn watched() -> Option<Watched> {
    Some(Watched { healed: 2 * SECOND, until: 60 * SECOND, bound: SECOND })
}

#[test]
fn a_lease_that_ends_in_its_time_passes() {
    assert_promises(&check(&[lease()], &story().applied, watched()), &[]);
}

#[test]
fn an_end_before_the_last_renewals_time_is_early() {
    let early = LeaseLog { ended: Some((8 * SECOND - 1, Revision(4))), ..lease() };
    assert_promises(&check(&[early], &story().applied, None), &["lease-early"]);
}

#[test]
fn a_renewal_that_succeeded_after_the_end_shows_that_it_was_early() {
    let renewed = vec![SECOND, 9 * SECOND];
    let revived = LeaseLog { renewed, ..lease() };
    assert_promises(&check(&[revived], &story().applied, None), &["lease-early"]);
}

#[test]
fn a_wish_to_revoke_excuses_an_early_end_only_from_then_on() {
    let ended = Some((4 * SECOND, Revision(4)));
    let wanted = LeaseLog { ended, revoked: Some(4 * SECOND), ..lease() };
    assert_promises(&check(from_ref(&wanted), &story().applied, None), &[]);
    let later = LeaseLog { revoked: Some(4 * SECOND + 1), ..wanted };
    assert_promises(&check(&[later], &story().applied, None), &["lease-early"]);
}

#[test]
fn an_end_after_the_bound_is_late_if_the_cluster_was_well() {
    let late = LeaseLog { ended: Some((9 * SECOND + 1, Revision(4))), ..lease() };
    assert_promises(&check(from_ref(&late), &story().applied, watched()), &["lease-late"]);
    assert_promises(&check(from_ref(&late), &story().applied, None), &[]);
    let healed_later = watched().map(|watched| Watched { healed: 4 * SECOND, ..watched });
    assert_promises(&check(&[late], &story().applied, healed_later), &[]);
}

#[test]
fn a_lease_that_never_ends_is_late_once_it_was_watched_long_enough() {
    let mut story = Story::default();
    story.ask(1, put_leased("a", "1", 7));
    let endless = LeaseLog { ended: None, ..lease() };
    assert_promises(&check(from_ref(&endless), &story.applied, watched()), &["lease-late"]);
    let short = watched().map(|watched| Watched { until: 9 * SECOND, ..watched });
    assert_promises(&check(&[endless], &story.applied, short), &[]);
}

#[test]
fn keys_left_behind_at_the_end_are_seen() {
    let mut story = story();
    story.applied.events.get_mut(&Revision(4)).unwrap().pop();
    assert_promises(&check(&[lease()], &story.applied, None), &["lease-keys-left"]);
}

#[test]
fn an_end_in_two_revisions_is_seen() {
    let mut story = story();
    let second = story.applied.events.get_mut(&Revision(4)).unwrap().pop().unwrap();
    let mut event = second;
    event.kv.mod_revision = Revision(5);
    story.applied.events.insert(Revision(5), vec![event]);
    assert_promises(&check(&[lease()], &story.applied, None), &["lease-keys-left"]);
}

#[test]
fn a_key_that_hangs_itself_on_an_ended_lease_is_seen() {
    let mut story = story();
    let _ = story.happen(&put_leased("c", "3", 7));
    assert_promises(&check(&[lease()], &story.applied, None), &["lease-key-after-end"]);
}
