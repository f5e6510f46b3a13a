//! Errors as RFC 9457 problems, and back.

use std::path::PathBuf;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::{Problem, ProblemItem};
use super::gateway::GatewayError;
use crate::config::Finding;

/// The media type of a problem.
const MEDIA_TYPE: &str = "application/problem+json";

impl GatewayError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotRunning { .. } | Self::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Configuration(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    /// The error that `problem` tells of.
    pub(super) fn from_problem(problem: Problem) -> Self {
        match problem.status {
            404 => Self::NotFound(problem.detail),
            400 => Self::Invalid(problem.detail),
            409 => Self::Refused(problem.detail),
            422 => Self::Configuration(problem.errors.into_iter().map(finding).collect()),
            _ => Self::Failed(problem.detail),
        }
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let (status, detail) = (self.status(), self.to_string());
        let errors = match self {
            Self::Configuration(findings) => findings.into_iter().map(item).collect(),
            _ => Vec::new(),
        };
        problem(status, detail, errors)
    }
}

/// A response that tells of a problem.
pub(super) fn problem(status: StatusCode, detail: String, errors: Vec<ProblemItem>) -> Response {
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Problem").to_owned(),
        status: status.as_u16(),
        detail,
        errors,
    };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}

fn item(finding: Finding) -> ProblemItem {
    ProblemItem {
        file: finding.file.display().to_string(),
        line: finding.line,
        column: finding.column,
        path: finding.path,
        message: finding.message,
    }
}

fn finding(item: ProblemItem) -> Finding {
    Finding {
        file: PathBuf::from(item.file),
        line: item.line,
        column: item.column,
        path: item.path,
        message: item.message,
    }
}
