//! Topic filters, topic names, and templates that make a topic of a record's headers.

/// Why this is no topic filter.
pub fn check_filter(filter: &str) -> Result<(), String> {
    check_length(filter)?;
    let mut levels = filter;
    if let Some(shared) = filter.strip_prefix("$share/") {
        let Some((group, rest)) = shared.split_once('/') else {
            return Err("a shared subscription is written `$share/<group>/<filter>`".into());
        };
        if group.is_empty() || group.contains(['+', '#']) || rest.is_empty() {
            return Err(
                "a shared subscription is written `$share/<group>/<filter>`, its group without wildcards".into()
            );
        }
        levels = rest;
    }
    let last = levels.split('/').count() - 1;
    for (index, level) in levels.split('/').enumerate() {
        if level.contains('#') && (level != "#" || index != last) {
            return Err("`#` stands for all levels that follow, so it must be the last level, by itself".into());
        }
        if level.contains('+') && level != "+" {
            return Err("`+` stands for one whole level, so it must be a level by itself".into());
        }
    }
    Ok(())
}

/// Why this is no topic to publish to.
pub fn check_name(topic: &str) -> Result<(), String> {
    check_length(topic)?;
    if topic.contains(['+', '#']) {
        return Err(format!("the topic `{topic}` holds a wildcard (`+` or `#`); messages go to one topic"));
    }
    Ok(())
}

fn check_length(topic: &str) -> Result<(), String> {
    match topic.len() {
        0 => Err("a topic has at least one character".into()),
        65_536.. => Err("a topic has at most 65535 bytes".into()),
        _ if topic.contains('\0') => Err("a topic cannot hold the character U+0000".into()),
        _ => Ok(()),
    }
}

/// A topic with `{header}` where the value of a record's header goes; `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Header(String),
}

impl Template {
    /// Reads a template, or says what is wrong with it and at which character (from 1).
    pub fn parse(text: &str) -> Result<Self, (u32, String)> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars().enumerate().peekable();
        while let Some((index, character)) = characters.next() {
            let place = index as u32 + 1;
            match character {
                '{' if characters.next_if(|(_, next)| *next == '{').is_some() => plain.push('{'),
                '}' if characters.next_if(|(_, next)| *next == '}').is_some() => plain.push('}'),
                '}' => return Err((place, "a `}` without its `{`; write `}}` for the character itself".into())),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((_, character)) => name.push(character),
                            None => {
                                return Err((
                                    place,
                                    "a `{` without its `}`; write `{{` for the character itself".into(),
                                ));
                            }
                        }
                    }
                    if name.is_empty() {
                        return Err((place, "the name of a header is missing between `{` and `}`".into()));
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Header(name));
                }
                '+' | '#' => {
                    return Err((place, format!("`{character}` is a wildcard; messages go to one topic")));
                }
                '\0' => return Err((place, "a topic cannot hold the character U+0000".into())),
                character => plain.push(character),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if parts.is_empty() {
            return Err((1, "a topic has at least one character".into()));
        }
        Ok(Self { parts })
    }

    /// The topic, if it is the same for every record.
    pub fn constant(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The topic of a record whose headers `header` looks up, or why it has none.
    pub fn fill<'a>(&self, header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<String, String> {
        let mut topic = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Header(name) => {
                    let value = header(name).ok_or_else(|| {
                        format!("the topic needs the header `{name}`, which the record does not have")
                    })?;
                    let value = std::str::from_utf8(value)
                        .map_err(|_| format!("the topic needs the header `{name}`, which is not text"))?;
                    topic.push_str(value);
                }
            }
        }
        check_name(&topic)?;
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for good in ["a", "/", "a/b", "+", "#", "a/+/b/#", "+/+", "$SYS/#", "$share/group/a/#", " "] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "a/b+", "##", "$share/group", "$share//a", "$share/+/a", "a\0"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates() {
        let template = Template::parse("site/{hall}/{kind}/{{x}}").unwrap();
        let header = |name: &str| match name {
            "hall" => Some(&b"7"[..]),
            "kind" => Some(&b"temp"[..]),
            _ => None,
        };
        assert_eq!(template.fill(header), Ok("site/7/temp/{x}".to_owned()));
        assert_eq!(template.constant(), None);
        assert_eq!(Template::parse("a/b").unwrap().constant(), Some("a/b"));
        let missing = Template::parse("{nothing}").unwrap().fill(header).unwrap_err();
        assert!(missing.contains("`nothing`"));
        assert!(Template::parse("{hall}").unwrap().fill(|_| Some(b"a/#")).unwrap_err().contains("wildcard"));
        assert!(Template::parse("{hall}").unwrap().fill(|_| Some(b"")).is_err());
        assert!(Template::parse("{hall}").unwrap().fill(|_| Some(&[0xff])).unwrap_err().contains("not text"));
        for (text, place) in [("a/#", 3), ("a}", 2), ("{a", 1), ("a{}", 2), ("", 1)] {
            assert_eq!(Template::parse(text).unwrap_err().0, place, "{text}");
        }
    }
}
