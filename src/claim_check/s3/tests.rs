//! A bucket in memory behind a real socket, which believes nobody without the right signature.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use headgate_sdk::config::Secret;
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-central-1";

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    parts: BTreeMap<u32, Bytes>,
    requests: Vec<String>,
    /// So many requests are answered 503 first.
    busy: usize,
    /// Whether this server is out of room.
    full: bool,
}

type Shared = Arc<Mutex<Bucket>>;

/// Starts a server and returns its address.
async fn serve(bucket: Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bucket = Arc::clone(&bucket);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&bucket), request));
                let connection = hyper::server::conn::http1::Builder::new();
                let _ended = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    format!("http://{address}")
}

async fn answer(
    bucket: Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = |status: StatusCode, text: &str| {
        let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert("etag", "\"tag\"".parse().unwrap());
        response
    };
    let signed = signature(&head, &body);
    let mut bucket = bucket.lock().unwrap();
    bucket
        .requests
        .push(format!("{} {}", head.method, head.uri));
    let given = head.headers["authorization"].to_str().unwrap();
    if !given.ends_with(&format!("Signature={signed}")) {
        return Ok(text(
            StatusCode::FORBIDDEN,
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
        ));
    }
    if bucket.busy > 0 {
        bucket.busy -= 1;
        return Ok(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "<Error><Code>SlowDown</Code></Error>",
        ));
    }
    let key = head
        .uri
        .path()
        .strip_prefix("/invoices/")
        .unwrap()
        .to_owned();
    let query = head.uri.query().unwrap_or("");
    Ok(match head.method {
        Method::HEAD => match bucket.objects.get(&key) {
            Some(object) => {
                let mut response = text(StatusCode::OK, "");
                let headers = response.headers_mut();
                headers.insert("content-length", object.len().into());
                let date = "Sat, 21 Nov 2026 12:00:00 GMT";
                headers.insert("last-modified", date.parse().unwrap());
                response
            }
            None => text(StatusCode::NOT_FOUND, ""),
        },
        Method::PUT if bucket.full => text(
            StatusCode::FORBIDDEN,
            "<Error><Code>QuotaExceeded</Code></Error>",
        ),
        Method::PUT if query.contains("partNumber=") => {
            let number = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("partNumber="));
            bucket.parts.insert(number.unwrap().parse().unwrap(), body);
            text(StatusCode::OK, "")
        }
        Method::PUT => {
            bucket.objects.insert(key, body);
            text(StatusCode::OK, "")
        }
        Method::POST if query.starts_with("uploads") => text(
            StatusCode::OK,
            "<InitiateMultipartUploadResult><UploadId>upload-1</UploadId></InitiateMultipartUploadResult>",
        ),
        Method::POST => {
            let parts = std::mem::take(&mut bucket.parts);
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            bucket.objects.insert(key, whole.into());
            text(
                StatusCode::OK,
                "<CompleteMultipartUploadResult><ETag>tag</ETag></CompleteMultipartUploadResult>",
            )
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
    })
}

/// The signature that the request must have: AWS Signature Version 4, as
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> says.
fn signature(head: &hyper::http::request::Parts, body: &[u8]) -> String {
    let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    let authorization = header("authorization");
    let field = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap();
        rest.split([',', ' ']).next().unwrap().to_owned()
    };
    let date = header("x-amz-date");
    let day = &date[..8];
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    assert_eq!(field("Credential"), format!("{KEY}/{scope}"));
    let hash = header("x-amz-content-sha256");
    assert_eq!(hash, hex(&Sha256::digest(body)), "the hash of the body");
    let names = field("SignedHeaders");
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name).trim()))
        .collect();
    let mut query: Vec<_> = head
        .uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    query.sort();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{hash}",
        head.method,
        head.uri.path(),
        query.join("&"),
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = mac(format!("AWS4{SECRET}").as_bytes(), day);
    for part in [REGION, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    hex(&mac(&key, &to_sign))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(endpoint: String, secret: &str) -> S3 {
    S3 {
        bucket: "invoices".into(),
        prefix: "head gate/".into(),
        region: REGION.into(),
        endpoint: Some(endpoint),
        access_key_id: Some(KEY.into()),
        secret_access_key: Some(Secret::new(secret)),
    }
}

async fn store(bucket: &Shared, staging: &FilePath) -> S3Store {
    let endpoint = serve(Arc::clone(bucket)).await;
    let store = S3Store::new(&config(endpoint, SECRET), staging).unwrap();
    store.prepare().await.unwrap();
    store
}

fn left_in(staging: &FilePath) -> usize {
    std::fs::read_dir(staging).unwrap().count()
}

#[tokio::test]
async fn a_payload_lies_under_its_hash_once() {
    let bucket = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let store = store(&bucket, folder.path()).await;
    let first = store.put(&mut &b"invoice"[..]).await.unwrap();
    let second = store.put(&mut &b"invoice"[..]).await.unwrap();
    assert_eq!(first, second);
    let hash = blake3::hash(b"invoice").to_hex();
    assert_eq!((first.hash.as_str(), first.bytes), (hash.as_str(), 7));
    let key = format!("head%20gate/{}/{}", &hash[..2], &hash[2..]);
    assert_eq!(
        first.uri,
        format!("s3://invoices/head gate/{}/{}", &hash[..2], &hash[2..])
    );
    let bucket = bucket.lock().unwrap();
    assert_eq!(bucket.objects[&key], "invoice");
    let requests = [
        format!("HEAD /invoices/{key}"),
        format!("PUT /invoices/{key}"),
        format!("HEAD /invoices/{key}"),
    ];
    assert_eq!(bucket.requests, requests);
    assert_eq!(left_in(folder.path()), 0);
}

#[tokio::test]
async fn a_large_payload_goes_up_in_parts() {
    let bucket = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let store = store(&bucket, folder.path()).await;
    let content: Vec<u8> = (0..PART_BYTES * 2 + 5).map(|n| (n % 251) as u8).collect();
    let blob = store.put(&mut &content[..]).await.unwrap();
    assert_eq!(blob.bytes, content.len() as u64);
    let bucket = bucket.lock().unwrap();
    let object = bucket.objects.values().next().unwrap();
    assert!(object == &content, "{} bytes came", object.len());
    let parts = bucket.requests.iter().filter(|r| r.contains("partNumber="));
    assert_eq!(parts.count(), 3);
    assert_eq!(left_in(folder.path()), 0);
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again() {
    let bucket = Shared::default();
    bucket.lock().unwrap().busy = 2;
    let folder = tempfile::tempdir().unwrap();
    let store = store(&bucket, folder.path()).await;
    store.put(&mut &b"x"[..]).await.unwrap();
    assert_eq!(bucket.lock().unwrap().objects.len(), 1);
}

#[tokio::test]
async fn what_is_not_stored_is_an_error_that_names_the_bucket() {
    let bucket = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = serve(Arc::clone(&bucket)).await;
    let stranger = S3Store::new(&config(endpoint, "another secret"), folder.path()).unwrap();
    let error = stranger.put(&mut &b"x"[..]).await.unwrap_err();
    assert!(error.to_string().contains("`s3://invoices`"), "{error}");
    assert!(!format!("{error:?}").contains("another secret"));
    let store = store(&bucket, folder.path()).await;
    bucket.lock().unwrap().full = true;
    assert!(store.put(&mut &b"x"[..]).await.is_err());
    assert!(bucket.lock().unwrap().objects.is_empty());
    assert_eq!(left_in(folder.path()), 0);
}

#[test]
fn half_a_key_is_refused() {
    let mut half = config("http://127.0.0.1:9".into(), SECRET);
    half.secret_access_key = None;
    let error = S3Store::new(&half, FilePath::new("/tmp")).unwrap_err();
    assert!(error.to_string().contains("both, or neither"), "{error}");
}
