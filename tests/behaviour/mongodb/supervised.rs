//! A source that ends is started again, with patience.

use std::time::{Duration, Instant};

use ::mongodb::{
    Client,
    bson::{Document, doc},
};

use super::{called, faults::Faults, proxy::Proxy, url};
use crate::support::{
    gateway::{DEADLINE, Place},
    unique,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_resuming_does_not_mend_is_tried_again_less_and_less_often() {
    let name = unique("headgate").replace('-', "_");
    let client = Client::with_uri_str(url()).await.unwrap();
    let orders = client.database(&name).collection::<Document>("orders");
    let proxy = Proxy::to(&url()).await;
    let folder = tempfile::tempdir().unwrap();
    let source = called(&proxy.url(&url()), &name);
    let place = Place::new(
        folder.path(),
        &format!("sources:\n  shop: {{ type: mongodb, url: \"{source}\", database: {name} }}\n"),
    );
    let running = place.start().await;
    let faults = Faults::of(&client, &name).await;
    let opened = proxy.aggregates();
    // Without a label, and no code that a driver resumes after.
    faults
        .set(
            "alwaysOn",
            &["getMore", "aggregate"],
            doc! { "errorCode": 8 },
        )
        .await;
    let began = Instant::now();
    while proxy.aggregates() < opened + 3 {
        assert!(began.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (elapsed, attempts) = (began.elapsed(), proxy.aggregates() - opened);
    // The supervisor's waits: half a second, one, two, each shortened to no less than half.
    assert!(
        elapsed >= Duration::from_millis(1750),
        "{attempts} attempts within {elapsed:?}"
    );
    let state = running.readiness().await.unwrap();
    let shop = &state["sources"][0];
    assert!(
        shop["state"] == "restarting" || shop["state"] == "starting",
        "{state}"
    );
    drop(faults);
    orders.insert_one(doc! { "_id": 1 }).await.unwrap();
    let began = Instant::now();
    while place.tail().len() != 1 {
        assert!(began.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(running.stop().success());
    client.database(&name).drop().await.unwrap();
}
