//! What a store answers, turned into the four kinds of errors, in one place.
//!
//! The text is written here: a client's own text may hold addresses with signatures in them, and answers of a server hold
//! what was signed. `object_store` keeps the status of an answer to itself, so that it is read from the first words of its
//! error; `tests/s3.rs` meets each of them from a real server.

use std::error::Error as _;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};
use pipette_api::{ConnectError, ErrorKind};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    Write,
    Delete,
    List,
    Sign,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Sign => "sign an address of",
        }
    }
}

/// The error for an answer of a remote store; `what` is the address.
pub(crate) fn of_store(act: Act, what: &str, error: &object_store::Error) -> ConnectError {
    use object_store::Error;
    let told = Told::by(error);
    let say = |kind, reason: &str| {
        let code = told.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        ConnectError::new(kind, format!("Cannot {} {what}: {reason}{code}", act.name()))
    };
    let bucket_missing = told.code.as_deref().is_some_and(|code| matches!(code, "NoSuchBucket" | "ContainerNotFound"));
    match error {
        _ if bucket_missing => {
            say(ErrorKind::Fatal, "there is no such bucket or container: make it, or correct store.uri")
        }
        Error::NotFound { .. } if act == Act::Read => say(ErrorKind::Data, "the object is missing or forbidden"),
        Error::NotFound { .. } => say(ErrorKind::Fatal, "the store does not know the bucket or the upload"),
        Error::PermissionDenied { .. } if act == Act::Read => say(
            ErrorKind::Fatal,
            "forbidden, or missing where the credentials may not list: check store.options and the rights of the credentials",
        ),
        Error::PermissionDenied { .. } => {
            say(ErrorKind::Fatal, "forbidden: check store.options and the rights of the credentials")
        }
        Error::Unauthenticated { .. } => {
            say(ErrorKind::Fatal, "the store does not accept the credentials in store.options")
        }
        Error::Precondition { .. } | Error::NotModified { .. } => {
            say(ErrorKind::Data, "the object was overwritten or deleted since its reference was written")
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => say(ErrorKind::Fatal, "the store cannot do that"),
        Error::InvalidPath { .. } => say(ErrorKind::Data, "the key is not one of an object"),
        Error::UnknownConfigurationKey { key, .. } => {
            say(ErrorKind::Config, &format!("store.options.{key} is unknown"))
        }
        // In the middle of a content, when the client went on with it by itself.
        _ if act == Act::Read && matches!(told.status, Some(404 | 412)) => {
            say(ErrorKind::Data, "the object was overwritten or deleted while it was read")
        }
        _ => told.rest(say),
    }
}

/// True when a store says of an upload in parts that it is not there: it has ended, or somebody aborted it. Azure says so of
/// the blocks that the upload is made of.
pub(crate) fn is_gone(error: &object_store::Error) -> bool {
    let told = Told::by(error);
    match told.code.as_deref() {
        Some("NoSuchBucket" | "ContainerNotFound") => false,
        Some("NoSuchUpload" | "InvalidBlockList") => true,
        _ => matches!(error, object_store::Error::NotFound { .. }) || told.status == Some(404),
    }
}

/// The error for a file.
pub(crate) fn of_file(act: Act, what: &str, error: &io::Error) -> ConnectError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound if act == Act::Read => {
            return ConnectError::data(format!("Cannot read {what}: the object is missing or forbidden"));
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename => ErrorKind::Fatal,
        _ => ErrorKind::Retriable,
    };
    ConnectError::new(kind, format!("Cannot {} {what}: {error}{}", act.name(), remedy(error)))
}

/// What to do, where that does not follow from what the system says.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_some() => {
            ": give the worker's user the right to, with everything in the store's folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => ": mount it for writing, or name another store.uri",
        io::ErrorKind::NotADirectory => ": what should be a folder there is a file, move it or name another store.uri",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room",
        _ => "",
    }
}

/// What an error says about itself.
struct Told {
    status: Option<u16>,
    code: Option<String>,
    http: Option<HttpErrorKind>,
    io: Option<String>,
}

impl Told {
    fn by(error: &object_store::Error) -> Self {
        let mut told = Self { status: None, code: None, http: None, io: None };
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(http) = error.downcast_ref::<HttpError>() {
                told.http = Some(http.kind());
            } else if let Some(io) = error.downcast_ref::<io::Error>() {
                told.io = Some(io.to_string());
            } else if told.status.is_none() {
                let text = error.to_string();
                told.status = status_in(&text);
                told.code = code_in(&text);
            }
            cause = error.source();
        }
        told
    }

    /// Answers that `object_store` has no variant for.
    fn rest(&self, say: impl Fn(ErrorKind, &str) -> ConnectError) -> ConnectError {
        let slow = |code: &str| matches!(code, "SlowDown" | "RequestTimeout" | "Throttling" | "ServerBusy");
        match (self.status, self.http) {
            _ if self.code.as_deref().is_some_and(slow) => say(ErrorKind::Retriable, "the store asks to be asked less"),
            (Some(status @ (408 | 409 | 425 | 429 | 500..)), _) => {
                say(ErrorKind::Retriable, &format!("the store answers {status} for now"))
            }
            (Some(301 | 302 | 307 | 308), _) => say(
                ErrorKind::Fatal,
                "the store sends elsewhere: the region or the endpoint in store.options is another one",
            ),
            (Some(401 | 403), _) => {
                say(ErrorKind::Fatal, "forbidden: check store.options and the rights of the credentials")
            }
            (Some(status @ 300..), _) => say(ErrorKind::Fatal, &format!("the store refuses the request with {status}")),
            (_, Some(HttpErrorKind::Timeout)) => say(ErrorKind::Retriable, "the store did not answer in time"),
            (_, Some(_)) => {
                let why = self.io.as_deref().unwrap_or("the connection failed");
                say(ErrorKind::Retriable, &format!("the store is not reached: {why}"))
            }
            _ => {
                say(ErrorKind::Retriable, self.io.as_deref().unwrap_or("the store or its source of credentials failed"))
            }
        }
    }
}

/// `… status code: 503 Service Unavailable: …`, `… (code: 403)`
fn status_in(text: &str) -> Option<u16> {
    if text.contains("redirect without LOCATION") {
        return Some(301);
    }
    // The second is how one of several deletions in one request is told of.
    let (_, rest) = text.split_once("status code: ").or_else(|| text.split_once("(code: "))?;
    rest.get(..3)?.parse().ok()
}

/// The code in the XML that S3 and Azure answer with: a word, nothing else is let through.
fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let word = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    word.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn answers_become_kinds() {
        let status = |status: &str, code: &str| {
            answer(&format!("Server returned non-2xx status code: {status}: <Error><Code>{code}</Code></Error>"))
        };
        for (error, kind) in [
            (status("503 Service Unavailable", "SlowDown"), ErrorKind::Retriable),
            (status("500 Internal Server Error", "InternalError"), ErrorKind::Retriable),
            (status("429 Too Many Requests", ""), ErrorKind::Retriable),
            (status("400 Bad Request", "RequestTimeout"), ErrorKind::Retriable),
            (status("400 Bad Request", "InvalidRegion"), ErrorKind::Fatal),
            (status("404 Not Found", "NoSuchBucket"), ErrorKind::Fatal),
            (answer("Received redirect without LOCATION, this"), ErrorKind::Fatal),
            (answer("whatever"), ErrorKind::Retriable),
        ] {
            assert_eq!(of_store(Act::Write, "s3://b/k", &error).kind(), kind, "{error}");
        }
    }

    #[test]
    fn a_missing_object_is_one_bad_record_when_read_and_a_broken_store_when_written() {
        let missing = |code: &str| object_store::Error::NotFound {
            path: "k".into(),
            source: format!("status code: 404 Not Found: <Code>{code}</Code>").into(),
        };
        let read = of_store(Act::Read, "s3://b/k", &missing("NoSuchKey"));
        assert_eq!(read.to_string(), "Cannot read s3://b/k: the object is missing or forbidden (NoSuchKey)");
        assert_eq!(read.kind(), ErrorKind::Data);
        let bucket = of_store(Act::Read, "s3://b/k", &missing("NoSuchBucket"));
        assert!(bucket.kind() == ErrorKind::Fatal && bucket.to_string().contains("correct store.uri"), "{bucket}");
        assert_eq!(of_store(Act::Write, "s3://b/k", &missing("NoSuchKey")).kind(), ErrorKind::Fatal);
    }

    /// The client asks once more by itself when a content breaks off, and has no variant for what it is told then.
    #[test]
    fn an_object_that_is_another_one_in_the_middle_is_one_bad_record() {
        for (status, act, kind) in [
            ("404 Not Found", Act::Read, ErrorKind::Data),
            ("412 Precondition Failed", Act::Read, ErrorKind::Data),
            ("412 Precondition Failed", Act::Write, ErrorKind::Fatal),
        ] {
            let error = answer(&format!("Server returned non-2xx status code: {status}: "));
            assert_eq!(of_store(act, "gs://b/k", &error).kind(), kind, "{status} {act:?}");
        }
    }

    /// Azure's client deletes several in one request, whose answer holds theirs.
    #[test]
    fn an_answer_within_an_answer_has_its_kind() {
        let one = |code: u16| answer(&format!("Bulk delete request failed for key k: no (code: {code})"));
        for (code, kind) in [(403, ErrorKind::Fatal), (409, ErrorKind::Retriable), (503, ErrorKind::Retriable)] {
            assert_eq!(of_store(Act::Delete, "az://b/k", &one(code)).kind(), kind, "{code}");
        }
    }

    /// Of an upload in parts, not of a bucket.
    #[test]
    fn what_is_gone_is_told_in_several_ways() {
        let status = |status: &str, code: &str| answer(&format!("status code: {status}: <Code>{code}</Code>"));
        for (error, gone) in [
            (status("404 Not Found", "NoSuchUpload"), true),
            (status("404 Not Found", ""), true),
            (status("400 Bad Request", "InvalidBlockList"), true),
            (status("400 Bad Request", "InvalidPart"), false),
            (status("404 Not Found", "NoSuchBucket"), false),
            (status("404 Not Found", "ContainerNotFound"), false),
            (status("503 Service Unavailable", "SlowDown"), false),
        ] {
            assert_eq!(is_gone(&error), gone, "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_folder_says_what_to_do() {
        // Of Linux: EACCES, EROFS, ENOTDIR, ENOSPC.
        for (code, kind, told) in [
            (13, ErrorKind::Fatal, "give the worker's user the right"),
            (30, ErrorKind::Fatal, "mount it for writing"),
            (20, ErrorKind::Fatal, "is a file"),
            (28, ErrorKind::Retriable, "make room"),
        ] {
            let error = of_file(Act::Write, "/store/k", &io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.to_string().starts_with("Cannot write /store/k: ") && error.to_string().contains(told),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_server_says_beside_its_code_is_not_repeated() {
        let error = answer(
            "status code: 400 Bad Request: <Error><Code>AuthorizationQueryParametersError</Code>\
             <StringToSign>hunter2</StringToSign></Error> https://x/?sig=hunter2",
        );
        let text = of_store(Act::Write, "s3://b/k", &error).chain();
        assert!(text.contains("AuthorizationQueryParametersError") && !text.contains("hunter2"), "{text}");
        let crooked = answer("status code: 400 Bad Request: <Code>a hunter2</Code>");
        assert!(!of_store(Act::Write, "s3://b/k", &crooked).chain().contains("hunter2"));
    }
}
