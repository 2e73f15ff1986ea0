//! Dex, a real identity provider, on a port of this machine.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::{listens, within};

/// Building it takes minutes the first time.
const BUILD: std::time::Duration = std::time::Duration::from_secs(1800);

pub(crate) struct Dex {
    pub(crate) issuer: String,
    _process: Child,
    _directory: tempfile::TempDir,
}

impl Dex {
    /// Everybody who logs in there is Kilgore Trout. `redirect` is where the gateway's page is.
    pub(crate) async fn start(redirect: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/dex");
        let built = tokio::time::timeout(BUILD, Command::new(script).stderr(Stdio::inherit()).output()).await;
        let built = built.expect("Dex was not built in time").unwrap();
        assert!(built.status.success(), "Dex was not built");
        let program = String::from_utf8(built.stdout).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Without a path: with one, Dex sends the browser of a device flow to where there is nothing.
        let issuer = format!("http://{address}");
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("dex.yaml");
        let text = format!(
            "issuer: {issuer}\n\
             storage: {{type: memory}}\n\
             web: {{http: '{address}'}}\n\
             oauth2: {{skipApprovalScreen: true}}\n\
             logger: {{level: error}}\n\
             connectors: [{{type: mockCallback, id: mock, name: Mock}}]\n\
             staticClients: [{{id: gateway, secret: the-secret, name: Gateway, redirectURIs: ['{redirect}', /device/callback]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let process =
            Command::new(program.trim()).arg("serve").arg(&config).kill_on_drop(true).spawn().unwrap();
        listens("Dex", address).await;
        Self { issuer, _process: process, _directory: directory }
    }

    /// A browser: follows wherever it is sent, and returns the page it ends on.
    pub(crate) async fn browse(arguments: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let jar = directory.path().join("cookies");
        let mut curl = Command::new("curl");
        curl.args(["-sSL", "--max-time", "20", "-b"]).arg(&jar).arg("-c").arg(&jar).args(arguments);
        let output = within("curl", curl.output()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}
