//! `WWW-Authenticate` (RFC 9110 §11.6.1), as far as registries use it: pure.

use http::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// distribution: `spec/auth/token.md`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The strongest that is understood.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<Scheme> = values.flat_map(schemes).collect();
    let find = |name: &str| all.iter().find(|scheme| scheme.name.eq_ignore_ascii_case(name));
    let bearer = find("bearer").and_then(|bearer| {
        let (service, scope) = (bearer.parameter("service"), bearer.parameter("scope"));
        Some(Challenge::Bearer { realm: bearer.parameter("realm")?, service, scope })
    });
    bearer.or(find("basic").map(|_| Challenge::Basic))
}

struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn parameter(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
}

/// A word with `=` behind it is a parameter of the scheme before it; one without begins a scheme.
fn schemes(value: &str) -> Vec<Scheme> {
    let mut found: Vec<Scheme> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        match behind.trim_start().strip_prefix('=') {
            _ if word.is_empty() => return found,
            Some(behind) => {
                let (value, behind) = parameter_value(behind.trim_start());
                if let Some(scheme) = found.last_mut() {
                    scheme.parameters.push((word.to_owned(), value));
                }
                rest = behind;
            }
            None => {
                found.push(Scheme { name: word.to_owned(), parameters: Vec::new() });
                rest = behind;
            }
        }
    }
}

fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(values: &[&str]) -> Option<Challenge> {
        challenge(&values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().unwrap())).collect())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn what_registries_say_is_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(parsed(&[hub]), expected);
        assert_eq!(parsed(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(parsed(&["basic", "bearer realm=y , error=\"no \\\"way\\\"\""]), bearer("y", None, None));
        assert_eq!(parsed(&["Basic realm=\"x\", Bearer realm=\"z\""]), bearer("z", None, None));
        assert_eq!(parsed(&["Negotiate abc=="]), None);
        assert_eq!(parsed(&["Bearer service=\"no realm\""]), None);
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_parser(text in ".{0,80}", quoted in "[a-zA-Z =,\"\\\\]{0,80}") {
            schemes(&text);
            schemes(&quoted);
        }
    }
}
