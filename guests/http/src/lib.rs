//! Sink that posts records to a URL: one request a record, or one a batch as newline-delimited JSON.

mod exchange;
mod target;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ferrule_sdk::metrics::Counter;
use ferrule_sdk::prelude::*;
use ferrule_sdk::status;

use exchange::{Exchange, Stopped};
use target::Target;
use verdict::{Answer, Verdict};

static REQUESTS: Counter = Counter::new("requests");

/// For the record's id, which stays the same when the record is delivered again.
const ID_HEADER: &str = "ferrule-record-id";

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Where to post to, as `http://host[:port]/path` or `https://…`; to be granted as `http`.
    url: String,
    /// Header fields of each request. `content-type` has a default that goes with `batch`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What goes into one request.
    #[serde(default)]
    batch: Batching,
    /// How many requests may be on their way at once. With more than 1, records may arrive in another order.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    requests: usize,
    /// Seconds to wait for an answer.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1))]
    timeout: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Batching {
    /// One record.
    #[default]
    Record,
    /// As many records as were handed over at once, each on a line of its own.
    Ndjson,
}

const fn one() -> usize {
    1
}

const fn thirty() -> u32 {
    30
}

struct HttpSink {
    target: Target,
    batching: Batching,
    most: usize,
    timeout: Duration,
    waiting: VecDeque<Post>,
    under_way: Vec<UnderWay>,
}

/// Records that go in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Post {
    tokens: Vec<u64>,
    /// The records' keys, as far as they are told apart.
    keys: Vec<Vec<u8>>,
    id: Option<Vec<u8>>,
    body: Vec<u8>,
}

struct UnderWay {
    post: Post,
    exchange: Exchange,
    deadline: Instant,
}

/// What goes in which request. What cannot go at all is told to `outcomes`.
fn posts(batching: Batching, records: &Records, outcomes: &mut Outcomes) -> VecDeque<Post> {
    let one = |record: RecordRef<'_>| Post {
        tokens: vec![record.token()],
        keys: vec![key(record)],
        id: record.id().map(<[u8]>::to_vec),
        body: record.payload().to_vec(),
    };
    if batching == Batching::Record {
        return records.iter().map(one).collect();
    }
    let mut post = Post { tokens: Vec::new(), keys: Vec::new(), id: None, body: Vec::new() };
    for record in records {
        if record.payload().contains(&b'\n') {
            outcomes.reject(record, "has a line end in it, which newline-delimited JSON cannot hold");
            continue;
        }
        post.tokens.push(record.token());
        post.keys.push(key(record));
        post.body.extend_from_slice(record.payload());
        post.body.push(b'\n');
    }
    if post.tokens.is_empty() { VecDeque::new() } else { VecDeque::from([post]) }
}

fn key(record: RecordRef<'_>) -> Vec<u8> {
    record.key().unwrap_or_default().to_vec()
}

/// Takes out of `waiting` what must not go ahead of `post`, which is to be offered again: whatever has a key with it in common, or
/// all if the server takes nothing now.
fn behind(post: &Post, waiting: &mut VecDeque<Post>, all: bool) -> Vec<Post> {
    // A server that is overloaded or away is not asked again for each record that waits.
    let (behind, rest): (VecDeque<Post>, VecDeque<Post>) = std::mem::take(waiting)
        .into_iter()
        .partition(|other| all || other.keys.iter().any(|key| post.keys.contains(key)));
    *waiting = rest;
    behind.into()
}

/// A request of several records that was refused, as one request each: it may be due to one record alone.
fn apart(post: &Post) -> impl DoubleEndedIterator<Item = Post> + '_ {
    let lines = post.body.split_inclusive(|byte| *byte == b'\n');
    lines
        .zip(post.tokens.iter().zip(&post.keys))
        .map(|(line, (token, key))| Post {
            tokens: vec![*token],
            keys: vec![key.clone()],
            id: None,
            body: line.to_vec(),
        })
        .collect::<Vec<_>>()
        .into_iter()
}

impl HttpSink {
    /// Sends what is waiting and takes answers, until nothing is left or `wait` is over. With `first`, only until there are
    /// outcomes.
    fn work(&mut self, wait: &Wait, first: bool, outcomes: &mut Outcomes) -> Result<(), Error> {
        loop {
            while self.under_way.len() < self.most {
                let Some(post) = self.waiting.pop_front() else { break };
                REQUESTS.add(1);
                let deadline = Instant::now() + self.timeout;
                match Exchange::start(&self.target, post.id.as_deref(), &post.body, self.timeout, wait) {
                    Ok(exchange) => self.under_way.push(UnderWay { post, exchange, deadline }),
                    Err(Stopped::Wait) => {
                        self.waiting.push_front(post);
                        return Ok(());
                    }
                    Err(Stopped::Answer(answer)) => self.settle(post, &answer, outcomes)?,
                }
            }
            if self.under_way.is_empty() && self.waiting.is_empty() || first && !outcomes.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            let soonest = self.under_way.iter().map(|one| one.deadline.saturating_duration_since(now)).min();
            let pollables: Vec<_> = self.under_way.iter().map(|one| one.exchange.ready()).collect();
            let ended = wait.and_at_most(soonest.unwrap_or_default()).on(&pollables);
            let mut open = Vec::with_capacity(self.under_way.len());
            let now = Instant::now();
            for one in std::mem::take(&mut self.under_way) {
                let answer =
                    one.exchange.answer().or_else(|| (now >= one.deadline).then_some(Answer::Late(self.timeout)));
                match answer {
                    Some(answer) => self.settle(one.post, &answer, outcomes)?,
                    None => open.push(one),
                }
            }
            self.under_way = open;
            let over = wait.remaining().is_some_and(|left| left.is_zero());
            if ended == Ended::Woken || ended == Ended::Elapsed && over {
                return Ok(());
            }
        }
    }

    fn settle(&mut self, post: Post, answer: &Answer, outcomes: &mut Outcomes) -> Result<(), Error> {
        match verdict::of(answer) {
            Verdict::Delivered => {
                status::healthy("the server takes records");
                post.tokens.iter().for_each(|token| outcomes.delivered(*token));
            }
            Verdict::Retry(after, reason) => {
                status::unhealthy(&reason);
                let waiting = behind(&post, &mut self.waiting, verdict::is_about_the_server(answer));
                for post in [post].into_iter().chain(waiting) {
                    post.tokens.iter().for_each(|token| outcomes.retry(*token, after, reason.as_str()));
                }
            }
            Verdict::Reject(_) if post.tokens.len() > 1 => {
                apart(&post).rev().for_each(|one| self.waiting.push_front(one));
            }
            Verdict::Reject(reason) => post.tokens.iter().for_each(|token| outcomes.reject(*token, reason.as_str())),
            Verdict::Denied(reason) => return Err(Error::Denied(reason)),
        }
        Ok(())
    }
}

impl Sink for HttpSink {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new()
            .capability("http", "{url}", "the server that records are posted to")
            .reads(Columns::PAYLOAD | Columns::KEY | Columns::RECORD_IDS)
    }

    fn validate(_: &NoParameters, _: &NoParameters, parameters: &Parameters) -> Vec<Problem> {
        target::problems(parameters)
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let parameters = session.parameters;
        if let Some(problem) = target::problems(&parameters).into_iter().next() {
            return Err(problem.into());
        }
        Ok(Self {
            target: Target::new(&parameters)?,
            batching: parameters.batch,
            most: parameters.requests,
            timeout: Duration::from_secs(parameters.timeout.into()),
            waiting: VecDeque::new(),
            under_way: Vec::new(),
        })
    }

    fn write(&mut self, records: &Records, outcomes: &mut Outcomes) -> Result<(), Error> {
        let posts = posts(self.batching, records, outcomes);
        self.waiting.extend(posts);
        self.work(&Wait::forever(), false, outcomes)
    }

    fn idle(&mut self, wait: &Wait, outcomes: &mut Outcomes) -> Result<(), Error> {
        if self.under_way.is_empty() && self.waiting.is_empty() {
            wait.sleep();
            return Ok(());
        }
        self.work(wait, true, outcomes)
    }
}

ferrule_sdk::export!(sink: HttpSink);

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        Records::of([Record::new("{}"), Record::new("{\n}"), Record::new("[1]")])
    }

    #[test]
    fn a_record_is_a_request() {
        let mut outcomes = Outcomes::new();
        let posts = posts(Batching::Record, &records(), &mut outcomes);
        assert_eq!(posts.iter().map(|post| post.tokens[0]).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(posts[1].body, b"{\n}");
        assert!(outcomes.is_empty());
    }

    #[test]
    fn what_is_of_the_key_of_a_postponed_record_waits_with_it() {
        let keyed = |key: &'static str| Record::new("{}").with_key(key.as_bytes());
        let records = Records::of(["a", "b", "a", "c"].map(keyed));
        let mut waiting = posts(Batching::Record, &records, &mut Outcomes::new());
        let first = waiting.pop_front().unwrap();
        let tokens = |posts: &mut dyn Iterator<Item = &Post>| posts.map(|post| post.tokens[0]).collect::<Vec<_>>();
        assert_eq!(tokens(&mut behind(&first, &mut waiting, false).iter()), [2]);
        assert_eq!(tokens(&mut waiting.iter()), [1, 3]);
        assert_eq!(tokens(&mut behind(&first, &mut waiting, true).iter()), [1, 3]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_batch_is_a_request_of_lines() {
        let mut outcomes = Outcomes::new();
        let posts = posts(Batching::Ndjson, &records(), &mut outcomes);
        assert_eq!(posts, [Post { tokens: vec![0, 2], keys: vec![vec![]; 2], id: None, body: b"{}\n[1]\n".to_vec() }]);
        assert_eq!(outcomes.rejections().map(|(token, _)| token).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_refused_batch_is_taken_apart() {
        let post = Post {
            tokens: vec![7, 9],
            keys: vec![b"a".to_vec(), b"b".to_vec()],
            id: None,
            body: b"{}\n[1]\n".to_vec(),
        };
        let parts: Vec<_> = apart(&post).collect();
        assert_eq!(parts[0], Post { tokens: vec![7], keys: vec![b"a".to_vec()], id: None, body: b"{}\n".to_vec() });
        assert_eq!(parts[1], Post { tokens: vec![9], keys: vec![b"b".to_vec()], id: None, body: b"[1]\n".to_vec() });
    }
}
