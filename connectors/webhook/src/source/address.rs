//! Who really calls: the connection's peer, or, behind proxies that are trusted, whom they name.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address. Walks back through the hops that proxies named, from the nearest, as long as each is trusted: the
/// first that is not is the client, whatever stands before it.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = canonical(peer);
    if !contains(trusted, client) {
        return client;
    }
    for hop in hops(headers).into_iter().rev() {
        match hop {
            Some(address) => {
                client = canonical(address);
                if !contains(trusted, client) {
                    break;
                }
            }
            // A hop without a readable address hides everything before it.
            None => break,
        }
    }
    client
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
    let values = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|hop| hop.trim().to_owned())
            .collect()
    };
    let forwarded = values("forwarded");
    if forwarded.is_empty() {
        return values("x-forwarded-for")
            .iter()
            .map(|hop| address(hop))
            .collect();
    }
    forwarded
        .iter()
        .map(|hop| {
            hop.split(';')
                .filter_map(|pair| pair.trim().split_once('='))
                .find(|(name, _)| name.eq_ignore_ascii_case("for"))
                .and_then(|(_, value)| address(value.trim_matches('"')))
        })
        .collect()
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
}
