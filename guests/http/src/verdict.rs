//! What an answer means for the records that were posted.

use std::time::{Duration, SystemTime};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The server answered, perhaps with a `Retry-After`.
    Status(u16, Option<String>),
    /// The host does not allow the request.
    Denied(String),
    /// The request did not get through.
    Broken(String),
    /// There was no answer for so long.
    Late(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    Retry(Option<Duration>, String),
    Reject(String),
    /// The session cannot do its work.
    Denied(String),
}

pub(crate) fn of(answer: &Answer) -> Verdict {
    match answer {
        Answer::Status(200..=299, _) => Verdict::Delivered,
        // Too early, too many, too slow: the record is not to blame.
        Answer::Status(status @ (408 | 425 | 429 | 500..=599), after) => {
            let after = after.as_deref().and_then(|after| pause(after, SystemTime::now()));
            Verdict::Retry(after, format!("the server answered {status}"))
        }
        Answer::Status(status @ 300..=399, _) => Verdict::Reject(format!(
            "the server answered {status}; redirections are not followed, so `url` should name where they lead"
        )),
        Answer::Status(status, _) => Verdict::Reject(format!("the server answered {status}")),
        Answer::Denied(reason) => Verdict::Denied(reason.clone()),
        Answer::Broken(reason) => Verdict::Retry(None, reason.clone()),
        Answer::Late(after) => Verdict::Retry(None, format!("no answer in {} s", after.as_secs())),
    }
}

/// Whether other records would have been answered alike.
pub(crate) fn is_about_the_server(answer: &Answer) -> bool {
    !matches!(answer, Answer::Status(status, _) if !matches!(status, 429 | 503))
}

/// A `Retry-After`: a number of seconds, or a date in one of the forms of RFC 9110, section 5.6.7; one that is past means now.
fn pause(after: &str, now: SystemTime) -> Option<Duration> {
    let after = after.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(after).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, after: Option<&str>) -> Verdict {
        of(&Answer::Status(status, after.map(str::to_owned)))
    }

    #[test]
    fn statuses() {
        for good in [200, 201, 202, 204] {
            assert_eq!(status(good, None), Verdict::Delivered);
        }
        for bad in [301, 400, 401, 404, 413, 422] {
            assert!(matches!(status(bad, None), Verdict::Reject(reason) if reason.contains(&bad.to_string())), "{bad}");
        }
        for later in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(status(later, None), Verdict::Retry(None, _)), "{later}");
        }
    }

    #[test]
    fn the_server_says_when() {
        let after = |text| match status(503, Some(text)) {
            Verdict::Retry(after, _) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("in a while"), None);
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "a date that is past");
        assert!(after("Wed, 21 Oct 2099 07:28:00 GMT").unwrap() > Duration::from_secs(3600));
    }

    #[test]
    fn a_date_is_understood_in_every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(pause(date, now), Some(Duration::from_secs(77)), "{date}");
        }
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 MARS", now), None);
    }

    #[test]
    fn an_overloaded_server_is_left_alone() {
        for (status, server) in [(200, false), (500, false), (404, false), (429, true), (503, true)] {
            assert_eq!(is_about_the_server(&Answer::Status(status, None)), server, "{status}");
        }
        assert!(is_about_the_server(&Answer::Late(Duration::ZERO)));
    }

    #[test]
    fn without_an_answer() {
        assert_eq!(of(&Answer::Late(Duration::from_secs(3))), Verdict::Retry(None, "no answer in 3 s".into()));
        assert_eq!(of(&Answer::Denied("no".into())), Verdict::Denied("no".into()));
        assert_eq!(of(&Answer::Broken("reset".into())), Verdict::Retry(None, "reset".into()));
    }
}
