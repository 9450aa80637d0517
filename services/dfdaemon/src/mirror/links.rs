//! Where a listing goes on (RFC 8288, distribution-spec § Listing Tags): the registry's next page, by the name that the
//! client has for it here. Pure.

use http::Uri;
use http::header::{HeaderMap, HeaderValue, LINK};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::namespace::{Located, namespace};

/// `asked` is the client's own target, `url` the same at the registry. A link that leads out of the API leads nowhere.
pub fn rewrite(headers: &mut HeaderMap, asked: &Uri, located: &Located, url: &Url) {
    let here = asked.path().strip_suffix(located.path.as_str()).unwrap_or("/v2/");
    let named = namespace(asked);
    let rewritten = |links: &HeaderValue| {
        let links = rewritten(links.to_str().ok()?, here, named.as_deref(), url)?;
        HeaderValue::from_str(&links).ok()
    };
    let links: Vec<_> = headers.get_all(LINK).iter().filter_map(rewritten).collect();
    headers.remove(LINK);
    for link in links {
        headers.append(LINK, link);
    }
}

/// All that stands between `<` and `>`, which no target has in it.
fn rewritten(links: &str, here: &str, namespace: Option<&str>, url: &Url) -> Option<String> {
    let mut parts = links.split('<');
    let mut written = parts.next()?.to_owned();
    for part in parts {
        let (target, rest) = part.split_once('>')?;
        written += &format!("<{}>{rest}", next(target, here, namespace, url)?);
    }
    Some(written)
}

/// Whatever host it names, it is a page of this registry: behind a proxy some know their own name wrong.
fn next(target: &str, here: &str, namespace: Option<&str>, url: &Url) -> Option<String> {
    let target = url.join(target).ok()?;
    let path = format!("{here}{}", target.path().strip_prefix("/v2/")?);
    let query = target.query().map(str::to_owned);
    let named = namespace.map(|namespace| Serializer::new(String::new()).append_pair("ns", namespace).finish());
    let query: Vec<_> = query.into_iter().chain(named).collect();
    Some(if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) })
}

#[cfg(test)]
mod tests {
    use http::header::HeaderMap;

    use super::*;
    use crate::namespace::locate;

    const NEXT: &str = "team/app/tags/list?n=2&last=b%2Fc";

    /// The `Link` that comes of the registry's for a client that has asked for `target`.
    fn link(target: &str, registrys: &str) -> Option<String> {
        let asked: Uri = target.parse().unwrap();
        let located = locate(&asked, &HeaderMap::new(), |_| false).unwrap();
        let url = Url::parse("https://ghcr.io/v2/team/app/tags/list?n=2").unwrap();
        let mut headers = HeaderMap::from_iter([(LINK, registrys.parse().unwrap())]);
        rewrite(&mut headers, &asked, &located, &url);
        headers.get(LINK).map(|link| link.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_next_page_is_named_as_the_client_names_the_registry() {
        for registrys in [
            format!("</v2/{NEXT}>; rel=\"next\""),
            format!("<https://ghcr.io/v2/{NEXT}>; rel=\"next\""),
            format!("<http://inside:8080/v2/{NEXT}>; rel=\"next\""),
            "<list?n=2&last=b%2Fc>; rel=\"next\"".to_owned(),
            "<?n=2&last=b%2Fc>; rel=\"next\"".to_owned(),
        ] {
            for (target, expected) in [
                ("/v2/team/app/tags/list?n=2", format!("/v2/{NEXT}")),
                ("/v2/ghcr.io/team/app/tags/list?n=2", format!("/v2/ghcr.io/{NEXT}")),
                ("/ghcr.io/v2/team/app/tags/list", format!("/ghcr.io/v2/{NEXT}")),
                ("/v2/team/app/tags/list?n=2&ns=ghcr.io", format!("/v2/{NEXT}&ns=ghcr.io")),
                ("/v2/ghcr.io/team/app/tags/list?ns=ghcr.io", format!("/v2/ghcr.io/{NEXT}&ns=ghcr.io")),
                ("/v2/team/app/tags/list?ns=reg:5000", format!("/v2/{NEXT}&ns=reg%3A5000")),
            ] {
                let expected = format!("<{expected}>; rel=\"next\"");
                assert_eq!(link(target, &registrys), Some(expected), "{target}: {registrys}");
            }
        }
    }

    #[test]
    fn several_links_are_rewritten_and_what_is_no_page_is_dropped() {
        let target = "/v2/ghcr.io/team/app/tags/list";
        let several = link(target, "</v2/a/tags/list>; rel=\"prev\", </v2/b/tags/list?n=1>; rel=\"next\"");
        let expected = "</v2/ghcr.io/a/tags/list>; rel=\"prev\", </v2/ghcr.io/b/tags/list?n=1>; rel=\"next\"";
        assert_eq!(several.as_deref(), Some(expected));
        for other in ["</admin>; rel=\"next\"", "<https://elsewhere/x>; rel=\"next\"", "</v2/a; rel=\"next\""] {
            assert_eq!(link(target, other), None, "{other}");
        }
    }
}
