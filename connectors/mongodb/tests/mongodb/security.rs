//! TLS, SCRAM, X.509 and privileges, on a server that insists on them.

use std::{fs, path::Path};

use headgate_sdk::{SourceError, conformance::World};
use mongodb::{
    Client,
    bson::{Document, doc},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::{
    server::OwnServer,
    support::{DEADLINE, durable, within},
};

/// Writes an authority, and certificates of a server and of a client, into a folder.
fn certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    named(&mut authority, "authority");
    let ca = authority.self_signed(&key).unwrap();
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        named(&mut params, name);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        fs::write(
            folder.join(format!("{name}.both.pem")),
            format!("{pem}{}", key.serialize_pem()),
        )
        .unwrap();
        fs::write(folder.join(format!("{name}.pem")), pem).unwrap();
    }
}

fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "headgate");
    params.distinguished_name.push(DnType::CommonName, name);
}

/// A server with users that wants TLS and a password, or a certificate.
struct Guarded {
    server: OwnServer,
}

impl Guarded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let options = format!(
            "--auth --tls-cert-file {} --tls-key-file {} --tls-ca-file {}",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        );
        let server = OwnServer::start_in(folder, "");
        let client = Client::with_uri_str(&server.url).await.unwrap();
        let admin = client.database("admin");
        let role = doc! { "createRole": "headgate-orders", "roles": [], "privileges": [
            { "resource": { "db": "shop", "collection": "" }, "actions": ["changeStream", "find", "listCollections"] },
        ] };
        admin.run_command(role).await.unwrap();
        for (user, roles) in [
            ("admin", vec![doc! { "role": "root", "db": "admin" }]),
            (
                "app",
                vec![doc! { "role": "headgate-orders", "db": "admin" }],
            ),
            ("poor", vec![doc! { "role": "read", "db": "elsewhere" }]),
        ] {
            let user = doc! { "createUser": user, "pwd": "s3cret", "roles": roles };
            admin.run_command(user).await.unwrap();
        }
        let certified = doc! {
            "createUser": "CN=client,O=headgate", "mechanisms": ["MONGODB-X509"],
            "roles": [{ "role": "headgate-orders", "db": "admin" }],
        };
        client
            .database("$external")
            .run_command(certified)
            .await
            .unwrap();
        drop(client);
        server.restart(&options);
        Self { server }
    }

    fn file(&self, name: &str) -> String {
        self.server.folder().join(name).display().to_string()
    }

    /// A connection string of somebody.
    fn url(&self, credentials: &str, more: &str) -> String {
        let host = self.server.url.trim_start_matches("mongodb://");
        format!(
            "mongodb://{credentials}{host}?tls=true&tlsCAFile={}{more}",
            self.file("ca.pem")
        )
    }

    async fn orders(&self) -> mongodb::Collection<Document> {
        let client = Client::with_uri_str(self.url("admin:s3cret@", "")).await;
        client.unwrap().database("shop").collection("orders")
    }
}

fn config(url: &str) -> Value {
    json!({ "url": url, "database": "shop" })
}

/// Runs a source that must end; what it says, and whether it stays so until somebody acts.
async fn ends(url: &str) -> (bool, String) {
    let world = World::new(1 << 20);
    let run = world
        .start::<headgate_mongodb::Mongodb>(config(url))
        .unwrap();
    match within("end", run.ended()).await {
        Err(SourceError::Fatal { message, .. }) => (true, message),
        Err(SourceError::Retriable { message, .. }) => (false, message),
        other => panic!("the source ended with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_passwords_certificates_and_privileges_are_the_drivers_and_work() {
    let guarded = Guarded::start().await;
    let orders = guarded.orders().await;
    let certificate = format!(
        "&authMechanism=MONGODB-X509&tlsCertificateKeyFile={}",
        guarded.file("client.both.pem")
    );
    let ways = [
        guarded.url("app:s3cret@", "&authMechanism=SCRAM-SHA-256"),
        guarded.url("", &certificate),
    ];
    for (number, url) in ways.iter().enumerate() {
        let world = World::new(1 << 20);
        let run = world
            .start::<headgate_mongodb::Mongodb>(config(url))
            .unwrap();
        let number = i64::try_from(number).unwrap();
        orders.insert_one(doc! { "_id": number }).await.unwrap();
        let all = usize::try_from(number + 1).unwrap();
        durable(&world.lanes, "read and follow", |events| {
            events.len() >= all
        })
        .await;
        run.stop(DEADLINE).await.unwrap();
    }

    // An election in the middle of a login is no wrong password.
    let admin = Client::with_uri_str(guarded.url("admin:s3cret@", ""))
        .await
        .unwrap();
    let election = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 1 },
        "data": { "failCommands": ["saslStart", "saslContinue"], "errorCode": 91 },
    };
    admin.database("admin").run_command(election).await.unwrap();
    let (stays, message) = ends(&ways[0]).await;
    assert!(!stays && message.contains("failCommand"), "{message}");

    let (stays, message) = ends(&guarded.url("app:wrong@", "")).await;
    assert!(
        stays && message.contains("check user, password"),
        "{message}"
    );
    let (stays, message) = ends(&guarded.url("poor:s3cret@", "")).await;
    assert!(
        stays && message.contains("grantRolesToUser") && message.contains("headgate mongodb check"),
        "{message}"
    );
    let (stays, message) = ends(&guarded.url("", "")).await;
    assert!(stays && message.contains("privilege"), "{message}");

    // What may be mended elsewhere is tried again: a server without TLS, an authority that this machine does not know.
    let plain = guarded.url("app:s3cret@", "&serverSelectionTimeoutMS=2000");
    let host = guarded.server.url.trim_start_matches("mongodb://");
    let without = format!("mongodb://app:s3cret@{host}?serverSelectionTimeoutMS=2000");
    let (stays, message) = ends(&without).await;
    assert!(!stays && message.contains("TLS"), "{message}");
    let unknown = plain.replace("ca.pem", "server.pem");
    let (_, message) = ends(&unknown).await;
    assert!(message.contains("TLS"), "{message}");
    let (stays, message) = ends(&plain.replace("ca.pem", "none.pem")).await;
    assert!(stays && message.contains("TLS files"), "{message}");
}
