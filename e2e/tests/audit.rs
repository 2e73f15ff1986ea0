//! What an auditor can rely on: every byte, proof that it is whole, locks, encryption, and events while it happens.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use containerssh_e2e::bytes::{random_bytes, random_file, sha256, unique};
use containerssh_e2e::ssh::finish;
use containerssh_e2e::tool::Tool;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, fixture, policy, wait};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;

const NAMESPACE: &str = "e2e-audit";
/// Where reference implementations have lost a tenth.
const BULK: usize = 256_000_000;
/// How long a record may take from the end of its session to the bucket, and an event to its receiver.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(120);

/// A gateway whose records are locked and signed, and whose events go to the tests' receiver.
struct Audited {
    gateway: Gateway,
    login: Login,
    tool: Tool,
    /// The key that manifests are verified with.
    public_key: std::path::PathBuf,
}

static MADE: OnceCell<tempfile::TempDir> = OnceCell::const_new();

async fn audited() -> Result<Audited> {
    let cluster = Cluster::connect().await?;
    let keys = MADE.get_or_try_init(|| make(&cluster)).await?;
    let namespace = Namespace { cluster: cluster.clone(), name: NAMESPACE.into() };
    let gateway = Gateway { namespace, name: "audited".into() };
    let login = Login::with_key(&gateway, fixture::USER, fixture::key().await?).await?;
    let tool = Tool::built(&cluster.environment).await?;
    Ok(Audited { gateway, login, tool, public_key: keys.path().join("public.pem") })
}

async fn make(cluster: &Cluster) -> Result<tempfile::TempDir> {
    let keys = tempfile::tempdir()?;
    let private = keys.path().join("private.pem");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out"], &private).await?;
    let output = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).output().await?;
    std::fs::write(keys.path().join("public.pem"), output.stdout)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "e2e-signing", "namespace": cluster.environment.operator_namespace},
        "stringData": {"privateKey": std::fs::read_to_string(&private)?},
    });
    cluster.apply_object(&serde_json::from_value(secret)?).await?;
    let demands = json!({
        "objectLock": {"mode": "Governance", "retention": "2h"},
        "signing": {"secretRef": {"name": "e2e-signing"}},
        "events": [{"webhook": {"url": format!("http://receiver.{NAMESPACE}.svc/events"), "batch": {"delay": "200ms"}}}],
    });
    policy::record_everything(cluster, NAMESPACE, demands).await?;
    let namespace = cluster.namespace(NAMESPACE).await?;
    let image = &cluster.environment.webhook_image;
    cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: receiver, namespace: {NAMESPACE}, labels: {{app: receiver}}}}\n\
             spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: receiver, image: '{image}', imagePullPolicy: Never}}]}}\n\
             ---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: receiver, namespace: {NAMESPACE}}}\n\
             spec: {{selector: {{app: receiver}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        ))
        .await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(&namespace, "audited", fixture::USER, &key.public, json!({})).await?;
    gateway.ready().await?;
    Ok(keys)
}

async fn openssl(arguments: &[&str], path: &Path) -> Result<()> {
    let output = Command::new("openssl").args(arguments).arg(path).output().await?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Audited {
    /// Everything that the receiver got about the session in which `marker` was run, once that session is over.
    async fn events_of(&self, marker: &str) -> Result<Vec<Value>> {
        let services: Api<Service> =
            Api::namespaced(self.gateway.namespace.cluster.client.clone(), NAMESPACE);
        let spec = services.get("receiver").await?.spec.context("a spec")?;
        let url = format!("http://{}/events", spec.cluster_ip.context("an address")?);
        wait::until(&format!("the events of {marker}"), DELIVERY_DEADLINE, || async {
            let output = Command::new("curl").args(["-sf", &url]).output().await?;
            let events: Vec<Value> = serde_json::from_slice(&output.stdout)?;
            let exec = events
                .iter()
                .find(|event| event["command"].as_str().is_some_and(|command| command.contains(marker)))
                .with_context(|| format!("{} events, none of them its", events.len()))?;
            let id = exec["sessionId"].clone();
            let session: Vec<Value> =
                events.iter().filter(|event| event["sessionId"] == id).cloned().collect();
            let last = session.last().map(|event| event["type"].clone()).unwrap_or_default();
            ensure!(last == "disconnect", "{} events so far, the last one is {last}", session.len());
            Ok(session)
        })
        .await
    }

    /// The record of the session in which `marker` was run, as a file: its key, and where it is.
    async fn record_of(&self, marker: &str, directory: &Path) -> Result<(String, std::path::PathBuf)> {
        let events = self.events_of(marker).await?;
        let disconnect = events.last().context("an event")?;
        let key = disconnect["object"].as_str().with_context(|| format!("no key in {disconnect}"))?;
        let file = directory.join("record");
        self.tool.run(&["fetch", &self.tool.url(key), "-o", text(&file)?], 0).await?;
        Ok((key.to_owned(), file))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// SHA-256 of what a command line prints, taken as it is printed.
async fn hash_of(command: &mut Command) -> Result<String> {
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout: Stdio = child.stdout.take().context("piped")?.try_into()?;
    let output = Command::new("sha256sum").stdin(stdout).output().await?;
    let status = child.wait().await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(String::from_utf8(output.stdout)?.split(' ').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_quarter_gigabyte_each_way_arrives_and_is_in_the_record_byte_for_byte() -> Result<()> {
    let audited = audited().await?;
    let directory = tempfile::tempdir()?;
    let (file, sent) = random_file(BULK)?;

    let up = unique();
    let received =
        audited.login.run_with_input(&format!("sha256sum; : {up}"), Stdio::from(file.reopen()?)).await?;
    ensure!(received.expect_code(0)?.out().starts_with(&sent), "the pod got other bytes");
    let (_, record) = audited.record_of(&up, directory.path()).await?;
    let stream = |name| ["extract", "RECORD", "--channel", "0", "--stream", name, "-o", "-"];
    let extract = |record: &Path, name| -> Result<Command> {
        let mut arguments = stream(name);
        let path = text(record)?.to_owned();
        arguments[1] = &path;
        Ok(audited.tool.command(&arguments))
    };
    ensure!(hash_of(&mut extract(&record, "stdin")?).await? == sent, "the record holds other input");
    std::fs::remove_file(&record)?;

    let down = unique();
    let script =
        format!("head -c {BULK} /dev/urandom >/tmp/{down}; sha256sum </tmp/{down} >&2; cat /tmp/{down}");
    let mut client = audited.login.ssh();
    let hashes = directory.path().join("hash");
    client.arg(script).stdin(Stdio::null()).stderr(std::fs::File::create(&hashes)?);
    let printed = hash_of(&mut client).await?;
    ensure!(std::fs::read_to_string(&hashes)?.starts_with(&printed), "the client got other bytes");
    let (_, record) = audited.record_of(&down, directory.path()).await?;
    ensure!(hash_of(&mut extract(&record, "stdout")?).await? == printed, "the record holds other output");
    Ok(())
}

#[tokio::test]
async fn a_record_is_locked_signed_and_verifiable_and_a_changed_byte_is_found() -> Result<()> {
    let audited = audited().await?;
    let directory = tempfile::tempdir()?;
    let marker = unique();
    audited.login.run(&format!("echo {marker}; seq 1000")).await?.expect_code(0)?;
    let (key, record) = audited.record_of(&marker, directory.path()).await?;
    let bucket = containerssh_e2e::s3::Bucket::new(&audited.gateway.namespace.cluster.environment);

    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    for key in [key.clone(), format!("{key}.manifest.json")] {
        let (mode, until) = bucket.lock(&key).await?;
        ensure!(mode == "GOVERNANCE", "{key}: {mode}");
        ensure!((now + 6000..now + 7300).contains(&until), "{key} is locked for {} s", until - now);
    }

    let public_key = text(&audited.public_key)?;
    let url = audited.tool.url(&key);
    let said = audited.tool.run(&["verify", "--public-key", public_key, &url], 0).await?;
    ensure!(said.contains("intact"), "{said}");

    let manifest = directory.path().join("record.manifest.json");
    std::fs::write(&manifest, bucket.get(&format!("{key}.manifest.json")).await?.bytes)?;
    let mut bytes = std::fs::read(&record)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&record, &bytes)?;
    let arguments = ["verify", "--manifest", text(&manifest)?, "--public-key", public_key, text(&record)?];
    let said = audited.tool.run(&arguments, 2).await?;
    ensure!(said.contains("altered"), "{said}");
    Ok(())
}

#[tokio::test]
async fn events_tell_a_session_as_it_happens_in_order_without_a_gap() -> Result<()> {
    let audited = audited().await?;
    let marker = unique();
    audited
        .login
        .run_with_bytes(&format!("cat; : {marker}; exit 3"), b"typed".to_vec())
        .await?
        .expect_code(3)?;
    let events = audited.events_of(&marker).await?;
    let of_type = |wanted: &str| {
        let found = events.iter().find(|event| event["type"] == wanted);
        found.with_context(|| format!("no {wanted} in {events:#?}"))
    };
    ensure!(events[0]["type"] == "connect", "it begins with {}", events[0]);
    for (index, event) in events.iter().enumerate() {
        ensure!(
            event["sequence"] == events[0]["sequence"].as_u64().unwrap_or(0) + index as u64,
            "{event} is number {index}"
        );
        ensure!(event["remoteAddr"].is_string() && event["timestamp"].is_string(), "{event}");
    }
    ensure!(of_type("authRequest")?["success"].is_boolean(), "{events:#?}");
    ensure!(of_type("exec")?["username"] == fixture::USER, "{events:#?}");
    // base64 of "typed"
    ensure!(of_type("stdin")?["data"] == "dHlwZWQ=", "{events:#?}");
    ensure!(of_type("stdout")?["data"] == "dHlwZWQ=", "{events:#?}");
    let disconnect = of_type("disconnect")?;
    ensure!(disconnect["exitCode"] == 3, "{disconnect}");
    let bucket = containerssh_e2e::s3::Bucket::new(&audited.gateway.namespace.cluster.environment);
    let key = disconnect["object"].as_str().context("a key")?;
    ensure!(disconnect["sha256"] == sha256(&bucket.get(key).await?.bytes), "{disconnect}");
    Ok(())
}

#[tokio::test]
async fn a_file_moved_over_sftp_is_an_event_and_comes_back_out_of_the_record() -> Result<()> {
    let audited = audited().await?;
    let directory = tempfile::tempdir()?;
    let bytes = random_bytes(3_000_000);
    let name = unique();
    std::fs::write(directory.path().join(&name), &bytes)?;
    let batch = format!("put {name} /tmp/{name}\nrename /tmp/{name} /tmp/{name}.moved\n");
    audited.login.sftp(&batch, directory.path()).await?.expect_code(0)?;
    // A second session of the same user does not help to find the first: the path does.
    let found = wait::until("the record of the transfer", DELIVERY_DEADLINE, || async {
        let prefix = format!("{}/", audited.tool.url(&format!("{NAMESPACE}/audited")));
        let listed = audited.tool.run(&["ls", &prefix, "--format", "json"], 0).await?;
        for line in listed.lines() {
            let entry: Value = serde_json::from_str(line)?;
            let url = entry["location"].as_str().context("a location")?.to_owned();
            let transfers = audited.tool.run(&["extract", &url, "--list"], 0).await?;
            if transfers.contains(&name) {
                return Ok(url);
            }
        }
        anyhow::bail!("not in {} records", listed.lines().count())
    })
    .await?;
    let files = directory.path().join("evidence");
    audited.tool.run(&["extract", &found, &format!("/tmp/{name}"), "-o", text(&files)?], 0).await?;
    let mut find = Command::new("find");
    let listed = finish(find.arg(&files).args(["-type", "f"])).await?.out();
    let extracted = listed.lines().next().context("no file was extracted")?;
    ensure!(std::fs::read(extracted)? == bytes, "{extracted} holds other bytes");
    let transcript = audited.tool.run(&["convert", "-i", &found, "--format", "text"], 0).await?;
    ensure!(transcript.contains(&sha256(&bytes)), "no digest in\n{transcript}");
    ensure!(transcript.contains(&format!("/tmp/{name}.moved")), "no rename in\n{transcript}");
    Ok(())
}

#[tokio::test]
async fn only_the_auditors_key_reads_an_encrypted_record() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let directory = tempfile::tempdir()?;
    let identity = directory.path().join("identity");
    let output = Command::new("age-keygen").arg("-o").arg(&identity).output().await?;
    let said = String::from_utf8(output.stderr)?;
    let recipient = said.trim().rsplit(' ').next().context("a public key")?.to_owned();
    let name = "e2e-encrypted";
    policy::record_everything(&cluster, name, json!({"encryptTo": [recipient]})).await?;
    let namespace = cluster.namespace(name).await?;
    let key = fixture::key().await?;
    let gateway = Gateway::with_key(&namespace, "sealed", fixture::USER, &key.public, json!({})).await?;
    gateway.ready().await?;
    let login = Login::with_key(&gateway, fixture::USER, key).await?;
    let marker = unique();
    let begun = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    login.run(&format!("echo {marker}")).await?.expect_code(0)?;

    // An earlier run's records lie below the same prefix, encrypted to a key that is gone: ours is what our key reads.
    let tool = Tool::built(&cluster.environment).await?;
    let bucket = containerssh_e2e::s3::Bucket::new(&cluster.environment);
    let stored = wait::until("the encrypted record", DELIVERY_DEADLINE, || async {
        let keys = bucket.newest(&format!("{name}/"), begun).await?;
        for key in keys.iter().filter(|key| !key.ends_with(".manifest.json")) {
            let url = tool.url(key);
            let read = ["convert", "-i", &url, "--identity", text(&identity)?, "--format", "text"];
            let output = tool.command(&read).output().await?;
            if output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&marker) {
                return bucket.get(key).await;
            }
        }
        anyhow::bail!("{} records, none of them it", keys.len())
    })
    .await?;
    ensure!(stored.bytes.starts_with(b"age-encryption.org/v1"), "it is not encrypted");
    let url = tool.url(&stored.key);
    let without = tool.command(&["convert", "-i", &url, "--format", "text"]).output().await?;
    ensure!(!without.status.success(), "it was read without a key");
    ensure!(String::from_utf8_lossy(&without.stderr).contains("--identity"), "{without:?}");

    // Debian's own program reads it as well: an auditor needs nothing of ours to decrypt.
    let file = directory.path().join("record.age");
    std::fs::write(&file, &stored.bytes)?;
    let plain = directory.path().join("record");
    let mut age = Command::new("age");
    finish(age.arg("-d").arg("-i").arg(&identity).arg("-o").arg(&plain).arg(&file)).await?.expect_code(0)?;
    let transcript = tool.run(&["convert", "-i", text(&plain)?, "--format", "text"], 0).await?;
    ensure!(transcript.contains(&marker), "{transcript}");
    Ok(())
}
