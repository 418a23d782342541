//! The status page of jobs, and the JSON it is fed by: `/jobs` on the port that clients connect to.
//!
//! ```text
//! GET /jobs                      the list, as HTML that needs no script
//! GET /jobs/<job>                one job, likewise
//! GET /jobs/api/v1/jobs          the list as JSON
//! GET /jobs/api/v1/jobs/<job>    one job as JSON
//! GET /jobs/app.js, style.css    what makes the pages live and readable
//! ```
//!
//! It only shows: nothing can be changed through it. Every answer has a bound. Texts of jobs are written by
//! strangers: the HTML escapes them (`html.rs`), the script makes text nodes of them, and a browser is
//! told to run nothing but that script. Who answers is a thread of its own (`board.rs`), so that a node's
//! loop never waits for a page.

mod board;
mod html;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use synod_client::Kv;
use synod_jobs::cluster::JobId;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;

/// Under which everything here is, and this itself.
const PREFIX: &str = "/jobs";
/// Under which the JSON is.
const API: &str = "/jobs/api/v1/jobs";
/// Requests that may wait for the board; more are told to come back.
const MAX_WAITING: usize = 32;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page. Cheap to clone; the board runs only while somebody looks.
#[derive(Clone)]
pub(crate) struct JobsPage {
    shared: Arc<Shared>,
}

struct Shared {
    /// Starts a board that answers from this channel.
    start: Box<dyn Fn(mpsc::Receiver<Question>) -> std::io::Result<()> + Send + Sync>,
    board: Mutex<Option<mpsc::Sender<Question>>>,
}

/// What somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    ListPage,
    ListJson,
    JobPage(JobId),
    JobJson(JobId),
}

/// A question to the board. Without an answer there is no such job.
struct Question {
    wanted: Wanted,
    answer: oneshot::Sender<Option<Bytes>>,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Board(Wanted),
    Script,
    Style,
}

impl JobsPage {
    /// The page of the jobs whose records are in this store, on the node of this name.
    pub(crate) fn new<K: Kv>(kv: K, node: String) -> Self {
        let start = move |questions| board::start(kv.clone(), node.clone(), questions);
        JobsPage { shared: Arc::new(Shared { start: Box::new(start), board: Mutex::new(None) }) }
    }

    /// Whether a request is for here.
    pub(crate) fn wants(request: &Parts) -> bool {
        let path = request.uri.path();
        path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers it.
    pub(crate) async fn answer(&self, request: &Parts) -> Response<Body> {
        if request.method != Method::GET {
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        let wanted = match place_of(request.uri.path()) {
            Some(Place::Script) => return respond(StatusCode::OK, SCRIPT, html::SCRIPT),
            Some(Place::Style) => return respond(StatusCode::OK, STYLE, html::STYLE),
            Some(Place::Board(wanted)) => wanted,
            None => return respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
        };
        let content_type = match wanted {
            Wanted::ListPage | Wanted::JobPage(_) => HTML,
            Wanted::ListJson | Wanted::JobJson(_) => JSON,
        };
        match tokio::time::timeout(PATIENCE, self.ask(wanted)).await {
            Ok(Ok(Some(body))) => respond(StatusCode::OK, content_type, body),
            Ok(Ok(None)) => respond(StatusCode::NOT_FOUND, TEXT, "there is no such job\n"),
            Ok(Err(Busy)) | Err(_) => {
                let why = "the records of jobs cannot be read now; try again\n";
                let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, why);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
        }
    }

    async fn ask(&self, wanted: Wanted) -> Result<Option<Bytes>, Busy> {
        let (answer, answered) = oneshot::channel();
        self.send(Question { wanted, answer })?;
        // A board that has just ended because nobody looked drops it: whoever asks again finds another.
        answered.await.map_err(|_| Busy)
    }

    /// To the board that runs, or to a new one.
    fn send(&self, question: Question) -> Result<(), Busy> {
        let mut board = self.shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        let question = match board.as_ref().map(|board| board.try_reserve()) {
            Some(Ok(place)) => {
                place.send(question);
                return Ok(());
            }
            Some(Err(mpsc::error::TrySendError::Full(()))) => return Err(Busy),
            Some(Err(mpsc::error::TrySendError::Closed(()))) | None => question,
        };
        let (sender, questions) = mpsc::channel(MAX_WAITING);
        (self.shared.start)(questions).map_err(|error| {
            tracing::warn!("jobs: cannot start a thread for the status page: {error}");
            Busy
        })?;
        sender.try_send(question).map_err(|_| Busy)?;
        *board = Some(sender);
        Ok(())
    }
}

/// The board cannot answer now.
#[derive(Debug)]
struct Busy;

fn place_of(path: &str) -> Option<Place> {
    if let Some(rest) = path.strip_prefix(API) {
        return match rest {
            "" => Some(Place::Board(Wanted::ListJson)),
            rest => Some(Place::Board(Wanted::JobJson(rest.strip_prefix('/')?.parse().ok()?))),
        };
    }
    match path.strip_prefix(PREFIX)? {
        "" | "/" => Some(Place::Board(Wanted::ListPage)),
        "/app.js" => Some(Place::Script),
        "/style.css" => Some(Place::Style),
        rest => Some(Place::Board(Wanted::JobPage(rest.strip_prefix('/')?.parse().ok()?))),
    }
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in GUARDS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// What a browser must not do, whatever a text of a job says.
const GUARDS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_names_reach_the_board() {
        let id: JobId = "01ab-2c".parse().unwrap();
        let board = |wanted| Some(Place::Board(wanted));
        for (path, place) in [
            ("/jobs", board(Wanted::ListPage)),
            ("/jobs/", board(Wanted::ListPage)),
            ("/jobs/app.js", Some(Place::Script)),
            ("/jobs/style.css", Some(Place::Style)),
            ("/jobs/01ab-2c", board(Wanted::JobPage(id.clone()))),
            ("/jobs/api/v1/jobs", board(Wanted::ListJson)),
            ("/jobs/api/v1/jobs/01ab-2c", board(Wanted::JobJson(id))),
            ("/jobs/../x", None),
            ("/jobs/%3Cscript%3E", None),
            ("/jobs/01ab-2c/x", None),
            ("/jobs/api/v1/jobs/", None),
            ("/jobs/api/v1/jobsx", None),
            ("/jobs/api/v2/jobs", None),
        ] {
            assert_eq!(place_of(path), place, "{path}");
        }
    }
}
