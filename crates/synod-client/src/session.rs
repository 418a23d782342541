//! A session: a lease that is kept alive as long as its owner lives.
//!
//! Locks, elections and registrations hang on its lease. The session is lost when the server says that
//! the lease is gone, and also when no keep-alive got through for a whole time to live, counted from
//! the moment the last good one was *sent*: so the owner stops before the server gives its keys away.

use std::future::Future;
use std::time::Duration;

use synod_base::LeaseId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::election::{self, Leadership};
use crate::error::ClientError;
use crate::kv::Kv;
use crate::lock::{self, LockHeld};
use crate::queue::OwnershipError;

/// Keep-alives per time to live: two may be lost.
const KEEP_ALIVES_PER_TTL: u32 = 3;

/// A lease that a background task keeps alive. Dropping the session stops the task; the lease then ends
/// by itself. [`Session::close`] ends it at once.
#[derive(Debug)]
pub struct Session<K: Kv> {
    kv: K,
    lease: LeaseId,
    ttl: Duration,
    lost: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
}

impl<K: Kv> Session<K> {
    /// Grants a lease of this many seconds and keeps it alive. Call it inside a tokio runtime.
    pub async fn open(kv: &K, ttl_seconds: i64) -> Result<Self, ClientError> {
        let asked_at = Instant::now();
        let (_, granted) = kv.lease_grant(LeaseId::NONE, ttl_seconds).await?;
        Ok(Session::keep(kv, granted.id, granted.ttl_seconds, asked_at))
    }

    fn keep(kv: &K, lease: LeaseId, ttl_seconds: i64, asked_at: Instant) -> Self {
        let ttl = Duration::from_secs(ttl_seconds.max(1).unsigned_abs());
        let (sender, lost) = watch::channel(false);
        let keeper = tokio::spawn({
            let kv = kv.clone();
            async move {
                keep_until_lost(&kv, lease, ttl, asked_at).await;
                sender.send_replace(true);
            }
        });
        Session { kv: kv.clone(), lease, ttl, lost, keeper }
    }

    /// Its lease.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// The granted time to live.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether it is lost by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Resolves when the session is lost; at once if it is.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<K> {
        let mut lost = self.lost.clone();
        async move {
            // An error means that the keeper is gone, and the lease with it sooner or later.
            drop(lost.wait_for(|lost| *lost).await);
        }
    }

    /// Waits for the lock `name`, as long as the session lives.
    pub async fn lock(&self, name: &[u8]) -> Result<LockHeld, OwnershipError> {
        tokio::select! {
            held = lock::lock(&self.kv, name, self.lease) => held,
            () = self.lost() => Err(OwnershipError::SessionLost),
        }
    }

    /// Waits to lead `name`, as long as the session lives.
    pub async fn campaign(&self, name: &[u8], value: &[u8]) -> Result<Leadership, OwnershipError> {
        let value = bytes::Bytes::copy_from_slice(value);
        tokio::select! {
            led = election::campaign(&self.kv, name, self.lease, value) => led,
            () = self.lost() => Err(OwnershipError::SessionLost),
        }
    }

    /// Ends the lease now; all its keys are deleted in one revision.
    pub async fn close(self) -> Result<(), ClientError> {
        self.keeper.abort();
        match self.kv.lease_revoke(self.lease).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_lease_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl<K: Kv> Drop for Session<K> {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep_until_lost<K: Kv>(kv: &K, lease: LeaseId, ttl: Duration, asked_at: Instant) {
    let mut deadline = asked_at + ttl;
    let pause = ttl / KEEP_ALIVES_PER_TTL;
    let mut next_at = asked_at + pause;
    loop {
        tokio::time::sleep_until(next_at.min(deadline)).await;
        let sent_at = Instant::now();
        match tokio::time::timeout_at(deadline, kv.lease_keep_alive(lease)).await {
            Ok(Ok((_, ttl_seconds))) if ttl_seconds > 0 => {
                deadline = sent_at + ttl;
                next_at = sent_at + pause;
            }
            Ok(Ok(_)) | Err(_) => return,
            Ok(Err(_)) => next_at = Instant::now() + pause / KEEP_ALIVES_PER_TTL,
        }
        if Instant::now() >= deadline {
            return;
        }
    }
}
