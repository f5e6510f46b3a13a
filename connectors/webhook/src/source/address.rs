//! Who really calls, and whom they called: the connection's peer and nothing, or, behind proxies that are trusted, what they name.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address. Walks back through the hops that proxies named, from the nearest, as long as each is trusted: the
/// first that is not is the client, whatever stands before it.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !contains(trusted, peer) {
        return canonical(peer);
    }
    walk(peer, &hops(headers), trusted).0
}

/// Scheme and host that the client addressed, as the outermost trusted proxy names them; `None` if none does.
pub(super) fn addressed(
    peer: IpAddr,
    headers: &HeaderMap,
    authority: Option<&str>,
    trusted: &[IpNet],
) -> Option<String> {
    if !contains(trusted, peer) {
        return None;
    }
    let hops = hops(headers);
    let (_, at) = walk(peer, &hops, trusted);
    let (scheme, host) = match values(headers, "forwarded") {
        elements if elements.is_empty() => {
            // Lists that are as long as the list of hops go with it; a single value is that of the one proxy that writes it.
            let one = |name: &str| {
                let mut all = values(headers, name);
                match all.len() {
                    1 => all.pop(),
                    count if count == hops.len() => all.into_iter().nth(at?),
                    _ => None,
                }
            };
            (one("x-forwarded-proto"), one("x-forwarded-host"))
        }
        elements => {
            let element = elements.get(at.unwrap_or(elements.len() - 1))?;
            (parameter(element, "proto"), parameter(element, "host"))
        }
    };
    let scheme = scheme?.to_ascii_lowercase();
    let own = || {
        authority.map(str::to_owned).or_else(|| {
            let host = headers.get(http::header::HOST)?.to_str().ok()?;
            Some(host.to_owned())
        })
    };
    let host = host.or_else(own)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let fits =
        matches!(scheme.as_str(), "https" | "http") && !host.is_empty() && host.bytes().all(plain);
    fits.then(|| format!("{scheme}://{host}"))
}

/// The client, and the place of the hop that names it, if one does.
fn walk(peer: IpAddr, hops: &[Option<IpAddr>], trusted: &[IpNet]) -> (IpAddr, Option<usize>) {
    let (mut client, mut named) = (canonical(peer), None);
    for (at, hop) in hops.iter().enumerate().rev() {
        if !contains(trusted, client) {
            break;
        }
        // A hop without a readable address hides everything before it.
        let Some(address) = hop else { break };
        (client, named) = (canonical(*address), Some(at));
    }
    (client, named)
}

/// Whether one of the networks has the address.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = canonical(address);
    networks.iter().any(|network| network.contains(&address))
}

/// Reads networks; a bare address is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_canonical(),
        v4 => v4,
    }
}

/// The hops in the order in which they are named, from RFC 7239 `Forwarded` if it is there, else from `X-Forwarded-For`.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let forwarded = values(headers, "forwarded");
    if forwarded.is_empty() {
        return values(headers, "x-forwarded-for")
            .iter()
            .map(|hop| address(hop))
            .collect();
    }
    forwarded
        .iter()
        .map(|hop| address(&parameter(hop, "for")?))
        .collect()
}

/// A list's items, from all headers of that name.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|hop| hop.trim().to_owned())
        .collect()
}

/// A parameter of one element of `Forwarded`.
fn parameter(element: &str, wanted: &str) -> Option<String> {
    element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.trim_matches('"').to_owned())
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, header: (&'static str, &str)) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|text| network(text).unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header.0, header.1.parse().unwrap());
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        let xff = "x-forwarded-for";
        assert_eq!(seen("203.0.113.9", (xff, "1.1.1.1")), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", (xff, "1.1.1.1")), "1.1.1.1");
        assert_eq!(
            seen("10.0.0.1", (xff, "6.6.6.6, 1.1.1.1, 10.2.2.2")),
            "1.1.1.1"
        );
        assert_eq!(seen("10.0.0.1", (xff, "1.1.1.1, rubbish")), "10.0.0.1");
        assert_eq!(seen("::ffff:10.0.0.1", (xff, "1.1.1.1:4711")), "1.1.1.1");
        let forwarded = "for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https, for=10.1.1.1";
        assert_eq!(seen("10.0.0.1", ("forwarded", forwarded)), "2001:db8::1");
        assert_eq!(seen("10.0.0.1", ("forwarded", "for=unknown")), "10.0.0.1");
    }

    fn url(peer: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let trusted = [network("10.0.0.0/8").unwrap()];
        let mut headers = HeaderMap::new();
        headers.insert("host", "inside:8080".parse().unwrap());
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        addressed(peer.parse().unwrap(), &headers, None, &trusted)
    }

    #[test]
    fn only_trusted_hops_say_what_was_addressed() {
        let (proto, host, xff) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-for");
        let usual = [
            (proto, "https"),
            (host, "hooks.example.com"),
            (xff, "1.1.1.1"),
        ];
        let public = Some("https://hooks.example.com".to_owned());
        assert_eq!(url("10.0.0.1", &usual), public);
        assert_eq!(url("203.0.113.9", &usual), None);
        assert_eq!(url("10.0.0.1", &[]), None);
        assert_eq!(
            url("10.0.0.1", &[(proto, "https")]).as_deref(),
            Some("https://inside:8080")
        );
        let lists = [
            (proto, "http, https, http"),
            (host, "evil, hooks.example.com, middle"),
            (xff, "6.6.6.6, 1.1.1.1, 10.2.2.2"),
        ];
        assert_eq!(url("10.0.0.1", &lists), public);
        let forwarded = "for=6.6.6.6;host=evil;proto=https, \
            for=1.1.1.1;host=\"hooks.example.com\";proto=https, for=10.2.2.2;host=middle;proto=http";
        assert_eq!(url("10.0.0.1", &[("forwarded", forwarded)]), public);
        assert_eq!(url("10.0.0.1", &[(proto, "gopher")]), None);
        assert_eq!(url("10.0.0.1", &[(proto, "https"), (host, "a/b")]), None);
    }
}
