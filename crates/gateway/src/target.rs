//! What a request is aimed at: one authority and one path, whatever form the request came in
//! (RFC 9112 section 3.2, RFC 9113 section 8.3.1). Anything that two readers could take for two
//! targets is refused.

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version};
use ringmail_model::defence::{Defence, off};
use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::rules::{host, url};

use crate::refusal::Refusal;
use crate::sites::Names;

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// The authority's host in its one form: lower case, without port, brackets or final dot.
    pub(crate) host: String,
    /// The authority as the service gets it in Host.
    pub(crate) authority: HeaderValue,
    /// The path in normal form, without query; what rules compare.
    pub(crate) path: String,
    /// Path in normal form and query: the request target for the service.
    pub(crate) uri: Uri,
    /// What is asked for.
    pub(crate) protocol: ApplicationProtocol,
}

/// The target of CONNECT: an authority alone, which need not be one that the certificate stands for.
pub(crate) fn connect(head: &Parts) -> Result<Target, Refusal> {
    let (authority, host) = named(head, None)?;
    let uri = Uri::from_static("/");
    Ok(Target { host, authority, path: "/".to_owned(), uri, protocol: ApplicationProtocol::Http })
}

/// The target of a request that came over a connection with server name `sni`, whose certificate
/// stands for `names`.
pub(crate) fn target(head: &Parts, sni: Option<&str>, names: &Names) -> Result<Target, Refusal> {
    let (authority, host) = named(head, sni)?;
    let covered = names.cover(&host) || off(Defence::RequestAuthority);
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) || !covered {
        return Err(Refusal::Misdirected);
    }
    let (path, uri) = path(head)?;
    Ok(Target { host, authority, path, uri, protocol: ApplicationProtocol::Http })
}

/// The authority for the service, and its host in its one form.
fn named(head: &Parts, sni: Option<&str>) -> Result<(HeaderValue, String), Refusal> {
    let authority = authority(head, sni)?;
    if authority.as_str().contains('@') {
        return Err(Refusal::Malformed("the authority holds a user name"));
    }
    let host = host::canonical(authority.as_str())
        .ok_or(Refusal::Malformed("the authority is no host name or address"))?
        .into_owned();
    let authority = HeaderValue::from_str(authority.as_str())
        .map_err(|_| Refusal::Malformed("the authority is not printable"))?;
    Ok((authority, host))
}

fn authority(head: &Parts, sni: Option<&str>) -> Result<Authority, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::Malformed("more than one Host")),
        (Some(host), None) => Some(
            Authority::try_from(host.as_bytes())
                .map_err(|_| Refusal::Malformed("Host is no authority"))?,
        ),
        _ => None,
    };
    match (head.uri.authority(), host) {
        (Some(target), Some(host)) if !same(target, &host) => {
            Err(Refusal::Malformed("Host and the request target name two authorities"))
        }
        (Some(target), _) => Ok(target.clone()),
        (None, Some(host)) => Ok(host),
        // HTTP/1.0 knows no Host; the server name says what the client wanted.
        (None, None) if head.version == Version::HTTP_10 => sni
            .and_then(|sni| Authority::try_from(sni).ok())
            .ok_or(Refusal::Malformed("neither Host nor a server name")),
        (None, None) => Err(Refusal::Malformed("no Host")),
    }
}

fn same(a: &Authority, b: &Authority) -> bool {
    let port = |authority: &Authority| authority.port_u16().unwrap_or(443);
    a.host().eq_ignore_ascii_case(b.host()) && port(a) == port(b) && !b.as_str().contains('@')
}

fn path(head: &Parts) -> Result<(String, Uri), Refusal> {
    let given = head.uri.path();
    let path = match off(Defence::UrlForm) {
        true => given.into(),
        false => url::normalise(given).map_err(|denied| Refusal::Malformed(denied.why()))?,
    };
    let whole = match head.uri.path_and_query() {
        Some(whole) if path == given => whole.clone(),
        _ => {
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            PathAndQuery::try_from(format!("{path}{query}"))
                .map_err(|_| Refusal::Malformed("the path cannot be normalised"))?
        }
    };
    Ok((path.into_owned(), Uri::from(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn names() -> Names {
        let mut names = Names::default();
        ["www.example", "192.0.2.1", "2001:db8::1"].iter().for_each(|name| names.add(name));
        names
    }

    fn aim(uri: &str, hosts: &[&str], version: Version) -> Result<Target, Refusal> {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        target(&head, Some("www.example"), &names())
    }

    fn hosts(uri: &str, hosts: &[&str]) -> Result<String, Refusal> {
        aim(uri, hosts, Version::HTTP_11).map(|target| target.host)
    }

    #[test]
    fn one_authority_in_any_form() {
        for (uri, host) in [
            ("/", "WWW.example"),
            ("/", "www.example."),
            ("/", "www.example:8443"),
            ("https://www.example/", "www.example"),
            ("https://www.example/", "www.example:443"),
        ] {
            assert_eq!(hosts(uri, &[host]).as_deref(), Ok("www.example"), "{uri} {host}");
        }
        assert_eq!(hosts("/", &["[2001:db8::1]:443"]).as_deref(), Ok("2001:db8::1"));
        assert_eq!(hosts("https://www.example/", &[]).as_deref(), Ok("www.example"));
        let old = aim("/", &[], Version::HTTP_10).expect("the server name stands in");
        assert_eq!(old.authority, "www.example");
    }

    #[test]
    fn two_authorities_or_none_are_refused() {
        let refused = |uri: &str, names: &[&str]| {
            let refusal = hosts(uri, names).expect_err("refused");
            assert!(matches!(refusal, Refusal::Malformed(_)), "{uri} {names:?}: {refusal:?}");
        };
        refused("/", &[]);
        refused("/", &["www.example", "www.example"]);
        refused("/", &["user@www.example"]);
        refused("/", &["www.example/x"]);
        refused("/", &[""]);
        refused("/", &[":443"]);
        refused("https://www.example/", &["192.0.2.1"]);
        refused("https://www.example/", &["www.example:8443"]);
        refused("https://user@www.example/", &["www.example"]);
    }

    #[test]
    fn what_the_certificate_does_not_stand_for_is_misdirected() {
        assert_eq!(hosts("/", &["other.example"]), Err(Refusal::Misdirected));
        assert_eq!(hosts("http://www.example/", &["www.example"]), Err(Refusal::Misdirected));
    }

    #[test]
    fn the_service_gets_the_path_that_was_allowed() {
        let aimed = |uri: &str| aim(uri, &["www.example"], Version::HTTP_11);
        let target = aimed("/%61/x/../b?q=%61").expect("a target");
        assert_eq!((target.path.as_str(), target.uri.to_string().as_str()), ("/a/b", "/a/b?q=%61"));
        let target = aimed("/plain?x").expect("a target");
        assert_eq!((target.path.as_str(), target.uri.to_string().as_str()), ("/plain", "/plain?x"));
        for uri in ["/a%2fb", "/a%00", "/a//b", "/%2e%2e%2fetc", "/a\\b", "*"] {
            assert!(aimed(uri).is_err(), "{uri}");
        }
    }
}
