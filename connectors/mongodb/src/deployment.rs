//! What stands behind a URL.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::{
    Client,
    bson::{Bson, doc},
    error::Error,
    options::ClientOptions,
    results::CollectionType,
};

use crate::{config::Checked, scope::Scope};

/// How long the driver looks for a member before it gives up, unless the URL says otherwise.
const SELECTION: Duration = Duration::from_secs(10);

/// Makes a client. Asks DNS for `mongodb+srv` URLs, and nobody else.
///
/// # Errors
/// What the driver said.
pub(crate) async fn connect(config: &Checked) -> Result<Client, Error> {
    let mut options = ClientOptions::parse(config.url.expose()).await?;
    options
        .app_name
        .get_or_insert_with(|| config.application.clone());
    options.server_selection_timeout.get_or_insert(SELECTION);
    Client::with_options(options)
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// The replica set's name.
    pub(crate) replica_set: Option<String>,
    /// A router of a sharded cluster.
    pub(crate) sharded: bool,
}

impl Deployment {
    /// Asks.
    ///
    /// # Errors
    /// What the server or the driver said.
    pub(crate) async fn ask(client: &Client) -> Result<Self, Error> {
        let hello = client
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await?;
        Ok(Self {
            replica_set: hello.get_str("setName").ok().map(str::to_owned),
            sharded: hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid"),
        })
    }

    /// Whether it keeps the history that change streams need.
    pub(crate) fn has_history(&self) -> bool {
        self.sharded || self.replica_set.is_some()
    }
}

/// A collection as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CollectionInfo {
    pub(crate) database: String,
    pub(crate) name: String,
    /// Whether it keeps pre- and post-images.
    pub(crate) images: bool,
}

impl CollectionInfo {
    pub(crate) fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// The command that makes it keep images.
    pub(crate) fn enable_images(&self) -> String {
        format!(
            "db.getSiblingDB({:?}).runCommand({{collMod: {:?}, changeStreamPreAndPostImages: {{enabled: true}}}})",
            self.database, self.name
        )
    }
}

/// The collections that exist and are watched; views, time series and the server's own are never among them.
///
/// # Errors
/// What the server or the driver said.
pub(crate) async fn collections(
    client: &Client,
    scope: &Scope,
) -> Result<Vec<CollectionInfo>, Error> {
    let databases = match scope {
        Scope::Deployment { .. } => client.list_database_names().await?,
        _ => vec![scope.database().to_owned()],
    };
    let mut found = Vec::new();
    for database in databases {
        let mut listed = client.database(&database).list_collections().await?;
        while let Some(listed) = listed.try_next().await? {
            let is_plain = matches!(listed.collection_type, CollectionType::Collection);
            if !is_plain
                || listed.name.starts_with("system.")
                || !scope.covers(&database, &listed.name)
            {
                continue;
            }
            let options = mongodb::bson::serialize_to_bson(&listed.options).ok();
            let images = options
                .as_ref()
                .and_then(Bson::as_document)
                .and_then(|o| o.get_document("changeStreamPreAndPostImages").ok())
                .is_some_and(|images| images.get_bool("enabled").unwrap_or(false));
            found.push(CollectionInfo {
                database: database.clone(),
                name: listed.name,
                images,
            });
        }
    }
    found.sort_by_key(CollectionInfo::namespace);
    Ok(found)
}
