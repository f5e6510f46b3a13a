//! Changes a running gateway: pipelines are swapped between two batches, sources started, restarted and stopped.

use std::sync::Arc;

use super::{Gateway, ReloadError, start::pipeline_plan};
use crate::config::{Config, Source};

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// Sources that were not there before.
    pub started: Vec<String>,
    /// Sources whose settings changed.
    pub restarted: Vec<String>,
    /// Sources that are gone.
    pub stopped: Vec<String>,
    /// Sources whose pipeline was swapped.
    pub swapped: Vec<String>,
}

impl Gateway {
    /// Takes on a configuration that was loaded without errors. Sources that are unchanged go on without a pause.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing is changed then.
    pub async fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.inner.reloading.lock().await;
        if self.inner.stop.is_cancelled() {
            return Err(ReloadError::ShuttingDown);
        }
        let present = self.config();
        if let Some(key) = fixed_key_that_changed(&present, &config) {
            return Err(ReloadError::NeedsRestart { key });
        }
        let mut reloaded = Reloaded::default();
        for old in &present.sources {
            match config.sources.iter().find(|new| new.name == old.name) {
                None => {
                    self.stop_source(old).await;
                    reloaded.stopped.push(old.name.to_string());
                }
                Some(new) if !is_same_source(old, new) => {
                    self.stop_source(old).await;
                    reloaded.restarted.push(old.name.to_string());
                }
                Some(new) => {
                    if self.swap_pipeline(&present, old, &config, new) {
                        reloaded.swapped.push(old.name.to_string());
                    }
                }
            }
        }
        self.expect_paths(&config);
        for new in &config.sources {
            if self.source(&new.name).is_none() {
                self.start_source(&config, new);
                if !reloaded.restarted.contains(&new.name.to_string()) {
                    reloaded.started.push(new.name.to_string());
                }
            }
        }
        *self.inner.config.lock() = config;
        Ok(reloaded)
    }

    /// Ends a source; its lanes drain by themselves.
    async fn stop_source(&self, source: &Source) {
        let running = self.inner.sources.lock().remove(&source.name);
        if let Some(running) = running {
            running.handle.stop();
            let _ended = running.supervisor.await;
        }
    }

    /// Gives an unchanged source its new pipeline, if that is another; tells whether it is.
    fn swap_pipeline(&self, present: &Config, old: &Source, config: &Config, new: &Source) -> bool {
        let steps = |config: &Config, source: &Source| {
            config.pipelines.get(source.common.pipeline()).cloned()
        };
        let same_name = old.common.pipeline() == new.common.pipeline();
        if same_name && steps(present, old) == steps(config, new) {
            return false;
        }
        let plan = pipeline_plan(config, new);
        if let Some(running) = self.inner.sources.lock().get(&new.name) {
            running
                .handle
                .set_admission(plan.admission(&new.name, &self.inner.stack));
            running.plan.send_replace(Arc::clone(&plan));
        }
        true
    }
}

/// Whether two sources differ in nothing but their pipeline.
fn is_same_source(old: &Source, new: &Source) -> bool {
    old.connector.name == new.connector.name
        && old.common.tenant == new.common.tenant
        && old.keys.expose() == new.keys.expose()
}

/// The first key that a running gateway cannot change.
fn fixed_key_that_changed(old: &Config, new: &Config) -> Option<String> {
    let (a, b) = (&old.globals, &new.globals);
    let changed = [
        ("group", a.group != b.group),
        ("tenant", a.tenant != b.tenant),
        ("public_url", a.public_url != b.public_url),
        ("data_dir", a.data_dir != b.data_dir),
        ("http.listen", a.http.listen != b.http.listen),
        ("http.tls", a.http.tls != b.http.tls),
        ("admin.listen", a.admin.listen != b.admin.listen),
        ("shards", a.shards != b.shards),
        ("limits", a.limits != b.limits),
        ("claim_check", a.claim_check != b.claim_check),
        ("sinks", old.sinks != new.sinks),
    ];
    changed
        .into_iter()
        .find_map(|(key, changed)| changed.then(|| key.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;

    /// What is not shown must still be compared.
    #[test]
    fn a_new_secret_needs_a_restart() {
        let with = |password: &str, key: &str| {
            let text = format!(
                "claim_check: {{ s3: {{ bucket: abc, access_key_id: a, secret_access_key: {key} }} }}\nsinks:\n  main: {{ type: kafka, brokers: \"k:9092\", sasl: {{ mechanism: PLAIN, username: u, password: {password} }} }}\n"
            );
            let loaded = Loader::new().read(Path::new("headgate.yaml"), &text);
            loaded.unwrap_or_else(|error| panic!("{error}")).config
        };
        let changed = |new: Config| fixed_key_that_changed(&with("a", "a"), &new);
        assert_eq!(changed(with("a", "a")), None);
        assert_eq!(changed(with("b", "a")).as_deref(), Some("sinks"));
        assert_eq!(changed(with("a", "b")).as_deref(), Some("claim_check"));
    }
}
