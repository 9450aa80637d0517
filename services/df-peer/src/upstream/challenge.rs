//! `WWW-Authenticate` (RFC 9110 §11.6.1), as far as registries use it: pure.

use http::HeaderValue;
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

/// What a caller is told: one challenge per line, Bearer first, because clients read no more of a line than its first.
/// `error` (RFC 6750 §3.1) says why a presented token is no good, where the registry does not.
pub fn relayed_challenges(headers: &HeaderMap, error: Option<&str>) -> Vec<HeaderValue> {
    let mut lines = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let parsed = value.to_str().map(schemes).unwrap_or_default();
        let known = parsed.iter().all(|scheme| scheme.is("bearer") || scheme.is("basic"));
        let silent = |scheme: &Scheme| scheme.is("bearer") && scheme.parameter("error").is_none();
        let changes = parsed.len() > 1 || (error.is_some() && parsed.iter().any(silent));
        if !known || parsed.is_empty() || !changes {
            lines.push((parsed.first().is_some_and(|scheme| scheme.is("bearer")), value.clone()));
            continue;
        }
        for mut scheme in parsed {
            if let Some(error) = error.filter(|_| silent(&scheme)) {
                scheme.parameters.push(("error".to_owned(), error.to_owned()));
            }
            lines.extend(HeaderValue::from_str(&scheme.to_line()).ok().map(|line| (scheme.is("bearer"), line)));
        }
    }
    lines.sort_by_key(|(bearer, _)| !bearer);
    lines.into_iter().map(|(_, line)| line).collect()
}

struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn to_line(&self) -> String {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
        let parameters = self.parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        format!("{} {}", self.name, parameters.collect::<Vec<_>>().join(","))
    }

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

    fn relayed(values: &[&str], error: Option<&str>) -> Vec<String> {
        let headers = values.iter().map(|value| (WWW_AUTHENTICATE, value.parse().unwrap())).collect();
        relayed_challenges(&headers, error).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_client_gets_one_challenge_per_line_and_learns_why() {
        let hub = r#"Bearer realm="https://a.b/token",service="s""#;
        assert_eq!(relayed(&[hub], None), [hub]);
        let told = relayed(&[hub], Some("invalid_token"));
        assert_eq!(told, [r#"Bearer realm="https://a.b/token",service="s",error="invalid_token""#]);
        assert_eq!(relayed(&[&told[0]], Some("insufficient_scope")), told);
        let mixed = r#"Basic realm="x", Bearer realm="y""#;
        assert_eq!(relayed(&[mixed], None), [r#"Bearer realm="y""#, r#"Basic realm="x""#]);
        assert_eq!(relayed(&["Basic realm=x", hub], None), [hub, "Basic realm=x"]);
        assert_eq!(relayed(&["Basic realm=x"], Some("invalid_token")), ["Basic realm=x"]);
        assert_eq!(relayed(&["Negotiate abc=="], Some("invalid_token")), ["Negotiate abc=="]);
    }

    proptest! {
        #[test]
        fn what_is_relayed_says_the_same(realm in "[ -~]{1,20}", service in "[ -~]{0,20}") {
            let scheme = |realm: &str| Scheme { name: "Bearer".to_owned(), parameters: vec![("realm".to_owned(), realm.to_owned()), ("service".to_owned(), service.clone())] };
            let line = format!("Basic realm=\"x\", {}", scheme(&realm).to_line());
            let expected = bearer(&realm, Some(&service), None);
            let lines = relayed(&[&line], None);
            prop_assert_eq!(parsed(&[&line]), expected.clone());
            prop_assert_eq!(parsed(&[&lines[0]]), expected);
        }

        #[test]
        fn nothing_breaks_the_parser(text in ".{0,80}", quoted in "[a-zA-Z =,\"\\\\]{0,80}") {
            schemes(&text);
            schemes(&quoted);
        }
    }
}
