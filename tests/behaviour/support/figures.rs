//! What is counted in this process, and what a gateway counts.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Figures in Prometheus' text format.
pub(crate) struct Figures(String);

impl Figures {
    /// From here on, everything in this process is counted.
    pub(crate) fn count() -> &'static PrometheusHandle {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
    }

    /// Those of this process.
    pub(crate) fn here() -> Self {
        Self(Self::count().render())
    }

    /// As `/metrics` told them.
    pub(crate) fn told(body: &[u8]) -> Self {
        Self(String::from_utf8(body.to_vec()).unwrap())
    }

    /// The sum of all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut sum = 0.0;
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name) else {
                continue;
            };
            let is_it = rest.starts_with('{') || rest.starts_with(' ');
            let has =
                |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
            if is_it && labels.iter().all(has) {
                let (_, value) = rest.rsplit_once(' ').unwrap();
                sum += value.parse::<f64>().unwrap();
            }
        }
        sum
    }
}
