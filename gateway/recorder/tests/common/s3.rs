//! An S3 server over real HTTP, faithful where it matters here: part numbers, sizes and checksums are checked, conditions
//! hold, uploads in parts become objects only when completed, and it fails as told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

pub const ACCESS_KEY: &str = "AKTEST";
const MIN_PART: usize = 5 * 1024 * 1024;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Status(u16, &'static str),
    /// The request is carried out and the answer never comes.
    LostAnswer,
    /// Nothing is done and the answer never comes.
    Hang,
    /// It is stored, and the answer names another checksum.
    WrongChecksum,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub data: Vec<u8>,
    pub metadata: HashMap<String, String>,
    pub checksum: String,
    /// What was asked of the object, by header: ACL, encryption, lock, type.
    pub asked: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct Upload {
    key: String,
    metadata: HashMap<String, String>,
    asked: HashMap<String, String>,
    /// When it was begun, as listings tell.
    begun: Option<String>,
    parts: BTreeMap<i32, (Vec<u8>, String)>,
}

#[derive(Debug, Default)]
pub struct Bucket {
    pub objects: BTreeMap<String, Object>,
    /// How often an object was stored under a key, as a versioned bucket knows it.
    stored: BTreeMap<String, usize>,
    uploads: BTreeMap<String, Upload>,
    /// What was asked, in order: the operation and the key.
    pub log: Vec<(String, String)>,
    /// For the next request of an operation.
    faults: Vec<(String, Fault)>,
    /// For every request of an operation until lifted.
    lasting: HashMap<String, Fault>,
    pub without_conditions: bool,
    /// Digests are kept and contents forgotten, for tests of memory.
    pub forgetful: bool,
    pub access_key: Option<String>,
    next: u64,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    bucket: Arc<Mutex<Bucket>>,
    asked: Arc<Notify>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, bucket: Arc::default(), asked: Arc::default() };
        let router = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub fn bucket(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap()
    }

    /// The next request of that operation fails so; several are used up in order.
    pub fn fail_once(&self, operation: &str, fault: Fault) {
        self.bucket().faults.push((operation.to_owned(), fault));
    }

    /// Every request of that operation fails so until it is lifted.
    pub fn fail(&self, operation: &str, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.bucket().lasting.insert(operation.to_owned(), fault),
            None => self.bucket().lasting.remove(operation),
        };
    }

    /// Waits until so many requests of an operation were asked.
    pub async fn asked(&self, operation: &str, times: usize) {
        let wait = async {
            loop {
                let asked = self.asked.notified();
                if self.count(operation) >= times {
                    return;
                }
                asked.await;
            }
        };
        tokio::time::timeout(super::PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("no {times} {operation}"));
    }

    pub fn count(&self, operation: &str) -> usize {
        self.bucket().log.iter().filter(|(asked, _)| asked == operation).count()
    }

    /// Puts an upload in parts there that somebody else began, at that time (RFC 3339).
    pub fn begun_by_another(&self, key: &str, begun: &str) {
        let mut bucket = self.bucket();
        bucket.next += 1;
        let id = format!("upload-{}", bucket.next);
        let upload = Upload { key: key.to_owned(), begun: Some(begun.to_owned()), ..Upload::default() };
        bucket.uploads.insert(id, upload);
    }

    /// Keys of uploads in parts that nobody finished.
    pub fn unfinished_keys(&self) -> Vec<String> {
        self.bucket().uploads.values().map(|upload| upload.key.clone()).collect()
    }

    pub fn unfinished_uploads(&self) -> usize {
        self.bucket().uploads.len()
    }

    /// Keys of records: manifests lie beside them.
    pub fn records(&self) -> Vec<String> {
        self.bucket().objects.keys().filter(|key| !key.ends_with(".manifest.json")).cloned().collect()
    }

    pub fn object(&self, key: &str) -> Object {
        let bucket = self.bucket();
        let known: Vec<&String> = bucket.objects.keys().collect();
        bucket.objects.get(key).unwrap_or_else(|| panic!("no {key} in {known:?}")).clone()
    }
}

async fn handle(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default().to_vec();
    let path = parts.uri.path().trim_start_matches('/');
    let key = path.split_once('/').map(|(_bucket, key)| percent_decode(key)).unwrap_or_default();
    let query: HashMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), percent_decode(value)))
        .collect();
    let operation = match (&parts.method, query.contains_key("uploads"), query.contains_key("uploadId")) {
        (&Method::PUT, _, false) => "PutObject",
        (&Method::PUT, _, true) => "UploadPart",
        (&Method::POST, true, _) => "CreateMultipartUpload",
        (&Method::POST, ..) => "CompleteMultipartUpload",
        (&Method::DELETE, ..) => "AbortMultipartUpload",
        (&Method::HEAD, ..) => "HeadObject",
        (&Method::GET, true, _) => "ListMultipartUploads",
        (&Method::GET, ..) if query.contains_key("list-type") => "ListObjectsV2",
        (&Method::GET, ..) if query.contains_key("versions") => "ListObjectVersions",
        (&Method::GET, ..) => "GetObject",
        _ => return error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    let fault = {
        let mut bucket = server.bucket();
        bucket.log.push((operation.to_owned(), key.clone()));
        let once = bucket.faults.iter().position(|(of, _)| of == operation);
        once.map(|at| bucket.faults.remove(at).1).or_else(|| bucket.lasting.get(operation).copied())
    };
    server.asked.notify_waiters();
    match fault {
        Some(Fault::Status(status, code)) => return error(StatusCode::from_u16(status).unwrap(), code),
        Some(Fault::Hang) => return std::future::pending().await,
        _ => {}
    }
    let answer = {
        let mut bucket = server.bucket();
        answer(
            &mut bucket,
            operation,
            &key,
            &query,
            &parts.headers,
            body,
            fault == Some(Fault::WrongChecksum),
        )
    };
    if fault == Some(Fault::LostAnswer) {
        return std::future::pending().await;
    }
    answer
}

fn answer(
    bucket: &mut Bucket,
    operation: &str,
    key: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Vec<u8>,
    lie: bool,
) -> Response {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let authorization = header("authorization").unwrap_or_default();
    let wanted = bucket.access_key.clone().unwrap_or_else(|| ACCESS_KEY.to_owned());
    if !authorization.contains(&format!("Credential={wanted}/")) {
        return error(StatusCode::FORBIDDEN, "InvalidAccessKeyId");
    }
    if header("content-encoding").is_some_and(|encoding| encoding.contains("aws-chunked")) {
        return error(StatusCode::NOT_IMPLEMENTED, "chunked bodies are not what the recorder should send");
    }
    let conditional = header("if-none-match").is_some();
    if conditional && bucket.without_conditions {
        return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    }
    let metadata: HashMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().strip_prefix("x-amz-meta-")?, value.to_str().unwrap()))
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let asked: HashMap<String, String> = headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            let of_object = ["x-amz-acl", "x-amz-server-side-", "x-amz-object-lock-", "content-type"];
            of_object.iter().any(|start| name.starts_with(start))
        })
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let digest = STANDARD.encode(Sha256::digest(&body));
    let shown = |checksum: &str| if lie { STANDARD.encode([0; 32]) } else { checksum.to_owned() };
    let upload_id = query.get("uploadId").cloned().unwrap_or_default();
    match operation {
        "PutObject" => {
            if header("x-amz-checksum-sha256").as_ref() != Some(&digest) {
                return error(StatusCode::BAD_REQUEST, "BadDigest");
            }
            if conditional && bucket.objects.contains_key(key) {
                return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
            }
            let data = if bucket.forgetful { Vec::new() } else { body };
            let object = Object { data, metadata, checksum: digest.clone(), asked };
            bucket.objects.insert(key.to_owned(), object);
            *bucket.stored.entry(key.to_owned()).or_default() += 1;
            ok().header("etag", "\"e\"")
                .header("x-amz-checksum-sha256", shown(&digest))
                .body(Body::empty())
                .unwrap()
        }
        "CreateMultipartUpload" => {
            if header("x-amz-checksum-algorithm").as_deref() != Some("SHA256") {
                return error(StatusCode::BAD_REQUEST, "InvalidRequest");
            }
            bucket.next += 1;
            let id = format!("upload-{}", bucket.next);
            let upload = Upload { key: key.to_owned(), metadata, asked, ..Upload::default() };
            bucket.uploads.insert(id.clone(), upload);
            xml(&format!(
                "<InitiateMultipartUploadResult><Bucket>audit</Bucket><Key>k</Key><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ))
        }
        "UploadPart" => {
            let number: i32 = query["partNumber"].parse().unwrap();
            let Some(upload) = bucket.uploads.get_mut(&upload_id) else {
                return error(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            if !(1..=10_000).contains(&number) {
                return error(StatusCode::BAD_REQUEST, "InvalidArgument");
            }
            if header("x-amz-checksum-sha256").as_ref() != Some(&digest) {
                return error(StatusCode::BAD_REQUEST, "BadDigest");
            }
            upload.parts.insert(number, (body, digest.clone()));
            ok().header("etag", format!("\"{number}\""))
                .header("x-amz-checksum-sha256", shown(&digest))
                .body(Body::empty())
                .unwrap()
        }
        "CompleteMultipartUpload" => {
            if conditional && bucket.objects.contains_key(key) {
                return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
            }
            let Some(upload) = bucket.uploads.get(&upload_id) else {
                return error(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            let listed = String::from_utf8(body).unwrap();
            let numbers: Vec<i32> = between(&listed, "<PartNumber>", "</PartNumber>");
            if numbers != upload.parts.keys().copied().collect::<Vec<_>>() {
                return error(StatusCode::BAD_REQUEST, "InvalidPart");
            }
            let sums: Vec<String> = between(&listed, "<ChecksumSHA256>", "</ChecksumSHA256>");
            if sums != upload.parts.values().map(|(_, sum)| sum.clone()).collect::<Vec<_>>() {
                return error(StatusCode::BAD_REQUEST, "InvalidPart");
            }
            let sizes: Vec<usize> = upload.parts.values().map(|(data, _)| data.len()).collect();
            if sizes.iter().rev().skip(1).any(|size| *size < MIN_PART) {
                return error(StatusCode::BAD_REQUEST, "EntityTooSmall");
            }
            let mut all = Sha256::new();
            for sum in &sums {
                all.update(STANDARD.decode(sum).unwrap());
            }
            let checksum = format!("{}-{}", STANDARD.encode(all.finalize()), sums.len());
            let upload = bucket.uploads.remove(&upload_id).unwrap();
            let data = upload.parts.into_values().flat_map(|(data, _)| data).collect();
            let object =
                Object { data, metadata: upload.metadata, checksum: checksum.clone(), asked: upload.asked };
            *bucket.stored.entry(upload.key.clone()).or_default() += 1;
            bucket.objects.insert(upload.key, object);
            let shown = if lie { format!("{}-1", shown("")) } else { checksum };
            xml(&format!(
                "<CompleteMultipartUploadResult><ETag>\"e\"</ETag><ChecksumSHA256>{shown}</ChecksumSHA256>\
                 </CompleteMultipartUploadResult>"
            ))
        }
        "AbortMultipartUpload" => match bucket.uploads.remove(&upload_id) {
            Some(_) => ok().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap(),
            None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
        },
        "ListMultipartUploads" => {
            let prefix = query.get("prefix").cloned().unwrap_or_default();
            let uploads: String = bucket
                .uploads
                .iter()
                .filter(|(_, upload)| upload.key.starts_with(&prefix))
                .map(|(id, upload)| {
                    let begun = upload.begun.as_ref().map(|begun| format!("<Initiated>{begun}</Initiated>"));
                    let begun = begun.unwrap_or_default();
                    format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId>{begun}</Upload>", upload.key)
                })
                .collect();
            xml(&format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
        }
        "ListObjectVersions" => {
            let prefix = query.get("prefix").cloned().unwrap_or_default();
            let versions: String = bucket
                .stored
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .flat_map(|(key, times)| {
                    (0..*times).map(move |n| {
                        format!("<Version><Key>{key}</Key><VersionId>{n}</VersionId></Version>")
                    })
                })
                .collect();
            xml(&format!(
                "<ListVersionsResult><IsTruncated>false</IsTruncated>{versions}</ListVersionsResult>"
            ))
        }
        "GetObject" => match bucket.objects.get(key) {
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
            Some(object) => ok().body(Body::from(object.data.clone())).unwrap(),
        },
        "ListObjectsV2" => {
            let prefix = query.get("prefix").cloned().unwrap_or_default();
            let listed: String = bucket
                .objects
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .take(query.get("max-keys").map_or(1000, |most| most.parse().unwrap()))
                .map(|(key, object)| {
                    let tag = hex::encode(<md5::Md5 as md5::Digest>::digest(&object.data));
                    let size = object.data.len();
                    format!("<Contents><Key>{key}</Key><ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>")
                })
                .collect();
            xml(&format!("<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"))
        }
        _ => match bucket.objects.get(key) {
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
            Some(object) => {
                let mut answer = ok().header("content-length", object.data.len());
                if header("x-amz-checksum-mode").is_some() {
                    answer = answer.header("x-amz-checksum-sha256", &object.checksum);
                }
                answer.body(Body::empty()).unwrap()
            }
        },
    }
}

/// What stands between two texts, each time.
fn between<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str, from: &str, to: &str) -> Vec<T> {
    text.split(from).skip(1).map(|rest| rest.split_once(to).unwrap().0.parse().unwrap()).collect()
}

fn ok() -> axum::http::response::Builder {
    Response::builder().status(StatusCode::OK)
}

fn xml(body: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
    ok().header("content-type", "application/xml").body(Body::from(body)).unwrap()
}

fn error(status: StatusCode, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>");
    Response::builder()
        .status(status)
        .header("content-type", "application/xml")
        .body(Body::from(body))
        .unwrap()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// Long enough to be sure that a request hangs.
pub const SHORT: Duration = Duration::from_millis(300);
