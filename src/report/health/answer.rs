//! Which path is answered how.

use hyper::{Method, StatusCode};

use super::{Role, View, metrics, status};

/// What there is.
const PATHS: &str = "/livez /readyz /leaderz /status /metrics\n";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer, but for what HTTP makes of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::report) struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

/// The answer to one request.
pub(in crate::report) fn answer(view: &View, method: &Method, path: &str) -> Answer {
    let answer = |status, content_type, body| Answer {
        status,
        content_type,
        body,
    };
    let yes_or_no = |yes: bool, no: &str| {
        let (status, word) = if yes {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, no)
        };
        answer(status, TEXT, format!("{word}\n"))
    };
    if method != Method::GET && method != Method::HEAD {
        let body = "GET and HEAD only\n".to_owned();
        return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, body);
    }
    match path {
        "/livez" => yes_or_no(view.lives(), "the supervisor is stuck"),
        "/readyz" => yes_or_no(view.is_ready(), view.role().name()),
        "/leaderz" => yes_or_no(view.role() == Role::Leading, view.role().name()),
        "/status" => answer(StatusCode::OK, "application/json", status::text(view)),
        "/metrics" => answer(StatusCode::OK, metrics::TYPE, metrics::text(view)),
        _ => answer(StatusCode::NOT_FOUND, TEXT, format!("there is {PATHS}")),
    }
}
