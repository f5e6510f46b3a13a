//! One key with most of a topic's traffic is told to whoever looks.

use std::time::Instant;

use crate::support::{
    gateway::{DEADLINE, Place},
    http::Client,
};

#[tokio::test]
async fn a_hot_key_is_in_readyz_and_in_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let sections = format!(
        r#"
sources:
  counts: {{ type: files, paths: ["{}"], records: {{ format: json_lines }}, record_type: stock.counted.v1, settle: 100ms }}
pipeline:
  - filter: {{ equals: {{ type: [stock.counted.v1] }} }}
  - route: {{ topic: counts, key: "{{/shop}}", hot_key_percent: 60 }}
"#,
        inbox.display()
    );
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    // Three of four counts are of one shop; a window is 4096 records.
    let lines: String = (0..5_000)
        .map(|n| {
            format!(
                "{{\"shop\":{},\"n\":{n}}}\n",
                if n % 4 == 0 { n } else { 1 }
            )
        })
        .collect();
    std::fs::write(inbox.join("counts.jsonl"), lines).unwrap();
    let asked = Instant::now();
    loop {
        let state = running.readiness().await.unwrap();
        if state.to_string().contains("75 % of the topic `counts`") {
            assert_eq!(state["ready"], true, "a warning is no failure: {state}");
            break;
        }
        assert!(asked.elapsed() < DEADLINE, "{state:#}\n{}", place.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut client = Client::connect(running.admin).await.unwrap();
    let (_, metrics) = client.get("/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    let share = metrics
        .lines()
        .find_map(|line| line.strip_prefix("headgate_route_hot_key_share{topic=\"counts\"} "))
        .unwrap_or_else(|| panic!("{metrics}"));
    let share: f64 = share.parse().unwrap();
    assert!((0.74..0.76).contains(&share), "{share}");
    assert!(running.stop().success());
}
