//! What the command line of the demo says.

use std::time::Duration;

/// Shown when it is asked for, and when an option is wrong.
pub(crate) const USAGE: &str = "\
usage: ferrule-demo [--keep] [--seconds N]

  --seconds N  publish for so many seconds (15)
  --keep       go on until Ctrl-C
  --help       show this
";

/// What the demo is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How long to publish.
    pub(crate) duration: Duration,
    /// Go on until somebody ends the program.
    pub(crate) keep: bool,
}

/// What the words after the program's name ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The demo.
    Demo(Options),
    /// How it is used.
    Help,
}

/// Reads the words after the program's name; the error says which of them is wrong.
pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options { duration: Duration::from_secs(15), keep: false };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--keep" => options.keep = true,
            "--seconds" => {
                let seconds = words.next().ok_or("--seconds takes a number")?;
                let number = seconds.parse().map_err(|_| format!("--seconds takes a number, not {seconds:?}"))?;
                options.duration = Duration::from_secs(number);
            }
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    Ok(Asked::Demo(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Asked, String> {
        read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let options = Options { duration: Duration::from_secs(3), keep: true };
        assert_eq!(read_line("--seconds 3 --keep"), Ok(Asked::Demo(options)));
        for help in ["--help", "-h", "--keep --help"] {
            assert_eq!(read_line(help), Ok(Asked::Help), "{help}");
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert_eq!(read_line("--forever"), Err("there is no option \"--forever\"".to_owned()));
        assert_eq!(read_line("--seconds"), Err("--seconds takes a number".to_owned()));
        assert_eq!(read_line("--seconds x"), Err("--seconds takes a number, not \"x\"".to_owned()));
    }
}
