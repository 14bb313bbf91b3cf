//! Returns from `next` batches that break the contract; the config says how. The host must end it and say what is wrong.

use naughty_connector::{Column, Configured, Error, Limits, Naughty, Pulled, absent, batch, naughty};
use std::sync::Mutex;

static HOW: Mutex<String> = Mutex::new(String::new());

struct MalformedBatch;

impl Naughty for MalformedBatch {
    fn configure(config: String) -> Result<Configured, Error> {
        *HOW.lock().map_err(|_| Error::Failed("poisoned".into()))? = config.trim_matches('"').to_owned();
        Ok(Configured::Applied)
    }

    fn next(_limits: Limits) -> Result<Pulled, Error> {
        let mut records = batch(&[b"one", b"two"]);
        match HOW.lock().map_err(|_| Error::Failed("poisoned".into()))?.as_str() {
            "ends-decrease" => records.payload.ends = vec![5, 3],
            "ends-short" => records.payload.ends = vec![3, 5],
            "ends-past" => records.payload.ends = vec![3, 600],
            "too-few-keys" => records.key = Column { bytes: b"k".to_vec(), ends: vec![1] },
            "too-many-timestamps" => records.timestamps = vec![1, 2, 3],
            "headers-garbage" => records.headers = Column { bytes: vec![9, 0, 1], ends: vec![3, 3] },
            "no-tokens" => records.tokens.clear(),
            "no-payload" => records.payload = absent(),
            "count-lies" => records.count = 3,
            "too-many" => records = batch(&[b"x".as_slice(); 100]),
            "large" => records.payload = Column { bytes: vec![7; 4 << 20], ends: vec![1, 4 << 20] },
            _ => {}
        }
        Ok(Pulled { records, position: None })
    }
}

naughty!(MalformedBatch);
