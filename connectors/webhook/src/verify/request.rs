//! A request as verification sees it.

use http::HeaderMap;

/// A request, before anything parsed its body.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The URL that the sender addressed (behind proxies: the public one), exactly as the sender writes it. `None` if this
    /// gateway does not know its own public URL.
    pub url: Option<&'a str>,
    /// Path and query as they arrived.
    pub path_and_query: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The body's bytes as they came.
    pub body: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// The query, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        let whole = self.url.unwrap_or(self.path_and_query);
        let whole = whole.split('#').next().unwrap_or(whole);
        whole.split_once('?').map(|(_, query)| query)
    }

    /// Path and query of the public URL if it is known, else as they arrived.
    #[must_use]
    pub fn target(&self) -> &'a str {
        let Some(url) = self.url else {
            return self.path_and_query;
        };
        let url = url.split('#').next().unwrap_or(url);
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        match url[after_scheme..].find(['/', '?']) {
            Some(at) => &url[after_scheme + at..],
            None => "/",
        }
    }

    /// The path alone.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target().split('?').next().unwrap_or("/")
    }

    /// The URL without its query.
    #[must_use]
    pub fn url_without_query(&self) -> Option<&'a str> {
        self.url
            .map(|url| url.split(['?', '#']).next().unwrap_or(url))
    }
}
