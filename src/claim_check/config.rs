//! What the configuration says about the claim-check store.

use std::path::PathBuf;

use headgate_sdk::config::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where payloads are kept that events only refer to (`content: claim_check` of a source).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCheck {
    /// A folder, perhaps on a share that the consumers mount too. Absent: `blobs` in `data_dir`.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// An S3 bucket, instead of a folder.
    #[serde(default)]
    pub s3: Option<S3>,
}

/// A bucket of Amazon S3, or of a store that speaks its protocol.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Its name. It must be there already.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// What the keys of all payloads start with, such as `headgate/`.
    #[serde(default)]
    pub prefix: String,
    /// Its region.
    #[serde(default = "S3::default_region")]
    pub region: String,
    /// Where the store answers, if it is not Amazon's: `https://minio.example.com:9000`.
    #[serde(default)]
    #[schemars(extend("format" = "http-url"))]
    pub endpoint: Option<String>,
    /// The name of the key to sign with. Absent: what the environment or the machine gives (`AWS_ACCESS_KEY_ID`, a web identity, the
    /// instance's role).
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// Its secret.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
}

/// Compares without telling anybody what the secret is.
impl PartialEq for S3 {
    fn eq(&self, other: &Self) -> bool {
        let secret = |s3: &Self| {
            s3.secret_access_key
                .as_ref()
                .map(|secret| secret.expose().to_owned())
        };
        self.bucket == other.bucket
            && self.prefix == other.prefix
            && self.region == other.region
            && self.endpoint == other.endpoint
            && self.access_key_id == other.access_key_id
            && secret(self) == secret(other)
    }
}

impl S3 {
    fn default_region() -> String {
        "us-east-1".to_owned()
    }
}
