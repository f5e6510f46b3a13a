//! Which namespaces a source watches.

use headgate_sdk::pattern::matches;
use mongodb::bson::{Bson, Document, doc};

/// What the stream is opened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One collection.
    Collection {
        database: String,
        collection: String,
    },
    /// A database; patterns of collections, none for all.
    Database {
        database: String,
        patterns: Vec<String>,
    },
    /// Everything; patterns `database.collection`, none for all.
    Deployment { patterns: Vec<String> },
}

impl Scope {
    /// Reads the two keys of the configuration.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(crate) fn new(
        database: Option<&str>,
        collections: &[String],
    ) -> Result<Self, (String, String)> {
        let patterns = collections.to_vec();
        for (i, pattern) in collections.iter().enumerate() {
            let at = |message: String| (format!("/collections/{i}"), message);
            if pattern.is_empty() {
                return Err(at("an empty name".into()));
            }
            if database.is_none()
                && pattern
                    .split_once('.')
                    .is_none_or(|(a, b)| a.is_empty() || b.is_empty())
            {
                return Err(at(format!(
                    "`{pattern}` names no database: write `database.collection`, or set `database`"
                )));
            }
        }
        let Some(database) = database else {
            return Ok(Self::Deployment { patterns });
        };
        if database.is_empty() || database.contains(['.', '/', '\\', ' ', '"', '$', '*', '\0']) {
            return Err((
                "/database".into(),
                format!(
                    "`{database}` is no name of a database: leave the key out to watch all, and name `database.collection` in `collections`"
                ),
            ));
        }
        if matches!(database, "admin" | "local" | "config") {
            return Err((
                "/database".into(),
                format!("the server gives no change streams on `{database}`"),
            ));
        }
        let database = database.to_owned();
        Ok(match patterns.as_slice() {
            [collection] if !collection.contains('*') => Self::Collection {
                database,
                collection: collection.clone(),
            },
            _ => Self::Database { database, patterns },
        })
    }

    /// The database that the stream's command goes to.
    pub(crate) fn database(&self) -> &str {
        match self {
            Self::Collection { database, .. } | Self::Database { database, .. } => database,
            Self::Deployment { .. } => "admin",
        }
    }

    /// Whether a namespace is watched.
    pub(crate) fn covers(&self, database: &str, collection: &str) -> bool {
        match self {
            Self::Collection {
                database: db,
                collection: coll,
            } => db == database && coll == collection,
            Self::Database {
                database: db,
                patterns,
            } => {
                db == database
                    && (patterns.is_empty() || patterns.iter().any(|p| matches(p, collection)))
            }
            Self::Deployment { patterns } => {
                !matches!(database, "admin" | "local" | "config")
                    && (patterns.is_empty()
                        || patterns.iter().any(|p| both_match(p, database, collection)))
            }
        }
    }

    /// Names that can be spelt out: (database, collection) without a star.
    pub(crate) fn named(&self) -> Vec<(String, String)> {
        let plain = |patterns: &[String], split: &dyn Fn(&str) -> Option<(String, String)>| {
            patterns
                .iter()
                .filter(|p| !p.contains('*'))
                .filter_map(|p| split(p))
                .collect()
        };
        match self {
            Self::Collection {
                database,
                collection,
            } => vec![(database.clone(), collection.clone())],
            Self::Database { database, patterns } => {
                plain(patterns, &|p| Some((database.clone(), p.to_owned())))
            }
            Self::Deployment { patterns } => plain(patterns, &|p| {
                p.split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned()))
            }),
        }
    }

    /// The stage that lets through only what is watched, if the server would send more.
    pub(crate) fn stage(&self) -> Option<Document> {
        let (Self::Database { patterns, .. } | Self::Deployment { patterns }) = self else {
            return None;
        };
        if patterns.is_empty() {
            return None;
        }
        let mut any = vec![Bson::from(match self {
            Self::Deployment { .. } => doc! { "operationType": "invalidate" },
            _ => doc! { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
        })];
        for pattern in patterns {
            if let Self::Deployment { .. } = self {
                let (database, _) = halves(pattern);
                any.push(Bson::from(
                    doc! { "operationType": "dropDatabase", "ns.db": condition(database) },
                ));
            }
            for field in ["ns", "to"] {
                any.push(Bson::from(match self {
                    Self::Deployment { .. } => {
                        let (database, collection) = halves(pattern);
                        doc! { format!("{field}.db"): condition(database), format!("{field}.coll"): condition(collection) }
                    }
                    _ => doc! { format!("{field}.coll"): condition(pattern) },
                }));
            }
        }
        Some(doc! { "$match": { "$or": any } })
    }

    /// As people and checkpoints write it: two scopes are the same if their texts are.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Collection {
                database,
                collection,
            } => format!("{database}.{collection}"),
            Self::Database { database, patterns } if patterns.is_empty() => format!("{database}.*"),
            Self::Database { database, patterns } => patterns
                .iter()
                .map(|p| format!("{database}.{p}"))
                .collect::<Vec<_>>()
                .join(" "),
            Self::Deployment { patterns } if patterns.is_empty() => "*.*".into(),
            Self::Deployment { patterns } => patterns.join(" "),
        }
    }

    /// Whether the scope written as `text` covered a namespace.
    pub(crate) fn text_covers(text: &str, database: &str, collection: &str) -> bool {
        text.split(' ')
            .any(|pattern| both_match(pattern, database, collection))
    }
}

/// The patterns of the database and of the collection. A database's name has no dot, a collection's may.
fn halves(pattern: &str) -> (&str, &str) {
    pattern.split_once('.').unwrap_or((pattern, "*"))
}

fn both_match(pattern: &str, database: &str, collection: &str) -> bool {
    let (of_database, of_collection) = halves(pattern);
    matches(of_database, database) && matches(of_collection, collection)
}

fn condition(pattern: &str) -> Bson {
    if !pattern.contains('*') {
        return Bson::String(pattern.to_owned());
    }
    let mut regex = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => regex.push_str(".*"),
            c if c.is_alphanumeric() || c == '_' => regex.push(c),
            c => {
                regex.push('\\');
                regex.push(c);
            }
        }
    }
    regex.push('$');
    Bson::Document(doc! { "$regex": regex })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(database: Option<&str>, collections: &[&str]) -> Scope {
        let collections: Vec<_> = collections.iter().map(|&c| c.to_owned()).collect();
        Scope::new(database, &collections).unwrap()
    }

    #[test]
    fn one_plain_name_is_a_collection_and_everything_else_wider() {
        assert!(matches!(
            scope(Some("shop"), &["orders"]),
            Scope::Collection { .. }
        ));
        assert!(matches!(
            scope(Some("shop"), &["orders*"]),
            Scope::Database { .. }
        ));
        assert!(matches!(scope(Some("shop"), &[]), Scope::Database { .. }));
        assert!(matches!(scope(None, &["shop.*"]), Scope::Deployment { .. }));
    }

    #[test]
    fn covers_what_its_text_covers() {
        for scope in [
            scope(Some("shop"), &["orders"]),
            scope(Some("shop"), &["or*s", "x"]),
            scope(Some("shop"), &[]),
            scope(None, &["sh*.orders", "b.c.d"]),
            scope(None, &[]),
        ] {
            for (db, coll) in [
                ("shop", "orders"),
                ("shop", "x"),
                ("shed", "orders"),
                ("b", "c.d"),
                ("q", "q"),
            ] {
                assert_eq!(
                    scope.covers(db, coll),
                    Scope::text_covers(&scope.text(), db, coll),
                    "{scope:?} {db}.{coll}"
                );
            }
        }
        assert!(!scope(None, &[]).covers("local", "oplog.rs"));
        // As the server's stage has it: a star ends where the database does.
        assert!(!scope(None, &["sh*.orders"]).covers("shop", "old.orders"));
    }

    #[test]
    fn the_server_filters_by_regular_expression() {
        insta::assert_snapshot!(scope(Some("shop"), &["or.d*", "plain"]).stage().unwrap());
        assert_eq!(scope(Some("shop"), &[]).stage(), None);
        insta::assert_snapshot!(scope(None, &["sh*.x"]).stage().unwrap(), @r#"{ "$match": { "$or": [{ "operationType": "invalidate" }, { "operationType": "dropDatabase", "ns.db": { "$regex": "^sh.*$" } }, { "ns.db": { "$regex": "^sh.*$" }, "ns.coll": "x" }, { "to.db": { "$regex": "^sh.*$" }, "to.coll": "x" }] } }"#);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (database, collections) in [
            (Some("a.b"), vec![]),
            (Some("local"), vec![]),
            (None, vec!["orders"]),
            (Some("a"), vec![""]),
        ] {
            let collections: Vec<_> = collections.into_iter().map(str::to_owned).collect();
            assert!(
                Scope::new(database, &collections).is_err(),
                "{database:?} {collections:?}"
            );
        }
    }
}
