//! How long to go on asking a cluster that has no answer just now, and after which errors.

use std::future::Future;
use std::time::Duration;

use synod_client::{Advice, Answer, ClientError};
use tokio::time::Instant;

/// How long a cluster may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between looks at the wish to stop, and between attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Asks for a person until there is an answer, while waiting can help. A cluster that cannot be reached is
/// said at once: the endpoints may be wrong. What is asked may be done twice.
pub(super) async fn patiently<T, F: Future<Output = Answer<T>>>(
    ask: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let is_reached = |error: &ClientError| !matches!(error, ClientError::Unreachable { .. });
    ask_while(ask, |error| may_pass(error) && is_reached(error), PATIENCE).await
}

/// The same for a worker, which has reached the cluster before: it waits for one that cannot be reached, too.
pub(super) async fn patiently_as_worker<T, F: Future<Output = Answer<T>>>(
    ask: impl FnMut() -> F,
) -> Result<T, ClientError> {
    ask_while(ask, may_pass, PATIENCE).await
}

async fn ask_while<T, F: Future<Output = Answer<T>>>(
    mut ask: impl FnMut() -> F,
    may_pass: impl Fn(&ClientError) -> bool,
    patience: Duration,
) -> Result<T, ClientError> {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok((_, answer)) => return Ok(answer),
            Err(error) if began.elapsed() >= patience || !may_pass(&error) => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Whether waiting can help.
fn may_pass(error: &ClientError) -> bool {
    use Advice::{GoElsewhere, ReadFirst, Retry, Wait};
    matches!(error.advice(), Retry | Wait | GoElsewhere | ReadFirst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use synod_client::Header;

    fn unreachable() -> ClientError {
        ClientError::Unreachable { endpoint: "127.0.0.1:1".into(), reason: "refused".into() }
    }

    fn lost() -> ClientError {
        ClientError::ConnectionLost { endpoint: "127.0.0.1:1".into(), reason: "reset".into() }
    }

    /// Whether such an error is waited out if it passes at the third attempt.
    async fn is_waited_out(error: ClientError, as_worker: bool) -> bool {
        let tries = Cell::new(0);
        let ask = || {
            tries.set(tries.get() + 1);
            let answer = (Header::default(), ());
            std::future::ready(if tries.get() < 3 { Err(error.clone()) } else { Ok(answer) })
        };
        let said = match as_worker {
            true => patiently_as_worker(ask).await,
            false => patiently(ask).await,
        };
        assert_eq!((said.is_ok(), tries.get()), if said.is_ok() { (true, 3) } else { (false, 1) });
        said.is_ok()
    }

    #[tokio::test]
    async fn what_may_pass_is_waited_for() {
        assert!(is_waited_out(lost(), false).await);
        assert!(is_waited_out(lost(), true).await);
        assert!(is_waited_out(unreachable(), true).await);
    }

    #[tokio::test]
    async fn what_waiting_does_not_mend_is_said_at_once() {
        let endpoint = "nonsense".to_owned();
        assert!(!is_waited_out(ClientError::BadEndpoint { endpoint }, true).await);
        assert!(!is_waited_out(unreachable(), false).await);
    }

    #[tokio::test]
    async fn what_does_not_pass_is_said_in_the_end() {
        let ask = || std::future::ready(Answer::<()>::Err(lost()));
        assert_eq!(ask_while(ask, may_pass, 2 * PAUSE).await, Err(lost()));
    }
}
