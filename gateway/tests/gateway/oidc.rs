//! Logins at a real identity provider.

use std::net::SocketAddr;
use std::process::Stdio;

use containerssh_auditlog::Payload;
use containerssh_config::{Config, KeyboardInteractiveMethod, Secret};
use containerssh_gateway::admin;
use russh::client::KeyboardInteractiveAuthResponse as Reply;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Dex, Gateway, kinds, within};

/// The page that shows codes, as the gateway serves it.
async fn page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(admin::serve(listener, admin::redirect_router(), CancellationToken::new()));
    address
}

fn configure(dex: &Dex, redirect: &str, device: bool) -> impl FnOnce(&mut Config) + use<> {
    let (issuer, redirect) = (dex.issuer.clone(), redirect.to_owned());
    move |config| {
        let interactive = &mut config.auth.keyboard_interactive;
        interactive.method = KeyboardInteractiveMethod::OAuth2;
        let oauth2 = &mut interactive.oauth2;
        oauth2.client_id = "gateway".into();
        oauth2.client_secret = Some(Secret::new("the-secret"));
        oauth2.auth_timeout = std::time::Duration::from_secs(60);
        oauth2.oidc.url = issuer;
        oauth2.oidc.timeout = std::time::Duration::from_secs(20);
        oauth2.oidc.device_flow = device;
        oauth2.oidc.authorization_code_flow = !device;
        oauth2.oidc.redirect_uri = redirect;
        oauth2.oidc.extra_scopes = vec!["email".into(), "groups".into(), "profile".into()];
        oauth2.oidc.username_field = "email".into();
    }
}

async fn begin(client: &mut Client) -> (String, usize) {
    let reply = client.session.authenticate_keyboard_interactive_start("alice", None);
    match within("a question", reply).await.unwrap() {
        Reply::InfoRequest { instructions, prompts, .. } => (instructions, prompts.len()),
        other => panic!("{other:?}"),
    }
}

async fn answer(client: &mut Client, answers: &[&str]) -> bool {
    let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let reply = client.session.authenticate_keyboard_interactive_respond(answers);
    matches!(within("a verdict", reply).await.unwrap(), Reply::Success)
}

/// The word after a text.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    text.split(before)
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("{text}"))
}

async fn enter(dex: &Dex, instructions: &str) {
    let code = format!("user_code={}", after(instructions, "enter the code "));
    let page = Dex::browse(&["--data", &code, &format!("{}/device/auth/verify_code", dex.issuer)]).await;
    assert!(page.contains("Login Successful"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_flow_waits_for_the_user_and_learns_who_it_is() {
    let dex = Dex::start("http://127.0.0.1:1/").await;
    let gateway = Gateway::real(configure(&dex, "", true)).await;
    let mut client = Client::connect(&gateway).await;
    let (instructions, prompts) = begin(&mut client).await;
    assert_eq!(prompts, 0);
    assert_eq!(after(&instructions, "open "), format!("{}/device", dex.issuer));
    enter(&dex, &instructions).await;
    assert!(answer(&mut client, &[]).await);
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    {
        let info = gateway.backend.connections.lock().unwrap()[0].clone();
        assert_eq!(info.authenticated_username, "kilgore@kilgore.trout");
        assert_eq!(info.username, "alice");
        assert_eq!(info.metadata["OIDC_USERINFO_GROUPS"].value, "authors");
        assert!(info.metadata["OIDC_TOKEN"].sensitive);
    }
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(
        kinds(&record)[1..3],
        ["auth_keyboard_interactive_challenge", "handshake_successful"],
        "{:?}",
        kinds(&record)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_shows_the_code_and_goes_on_by_itself() {
    let dex = Dex::start("http://127.0.0.1:1/").await;
    let gateway = Gateway::real(configure(&dex, "", true)).await;
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args([
        "-o",
        "PreferredAuthentications=keyboard-interactive",
        "-p",
        &gateway.address.port().to_string(),
    ]);
    ssh.args(["alice@127.0.0.1", "echo in"]).env_remove("SSH_AUTH_SOCK");
    let mut child = ssh
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = String::new();
    within("the code", async {
        let (mut said, mut wrote) = ([0; 1024], [0; 1024]);
        while !shown.split("enter the code ").nth(1).is_some_and(|code| code.contains('\n')) {
            let text = tokio::select! {
                length = stderr.read(&mut said) => &said[..length.unwrap()],
                length = stdout.read(&mut wrote) => &wrote[..length.unwrap()],
            };
            assert!(!text.is_empty(), "ssh ended: {shown}");
            shown.push_str(&String::from_utf8_lossy(text));
        }
    })
    .await;
    enter(&dex, &shown).await;
    let mut rest = String::new();
    within("the output", stdout.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "in\n");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorization_code_flow_takes_the_code_of_its_own_login_only() {
    let redirect = format!("http://{}/", page().await);
    let dex = Dex::start(&redirect).await;
    let gateway = Gateway::real(configure(&dex, &redirect, false)).await;
    let code = async |client: &mut Client| {
        let (instructions, prompts) = begin(client).await;
        assert_eq!(prompts, 1);
        let page = Dex::browse(&[after(&instructions, "in the end:")]).await;
        page.split("<code>")
            .nth(1)
            .unwrap_or_else(|| panic!("{page}"))
            .split("</code>")
            .next()
            .unwrap()
            .to_owned()
    };
    let mut alice = Client::connect(&gateway).await;
    let mut other = Client::connect(&gateway).await;
    let (own, stolen) = (code(&mut alice).await, code(&mut other).await);
    assert!(!answer(&mut alice, &[&stolen]).await, "another login's code was taken");
    // That ended her login; in a new one the code that was hers is nothing.
    let (_, prompts) = begin(&mut alice).await;
    assert_eq!(prompts, 1);
    assert!(!answer(&mut alice, &[&own]).await);
    let fresh = code(&mut alice).await;
    assert!(answer(&mut alice, &[&format!(" {fresh} ")]).await);
    let state = stolen.split('.').next().unwrap();
    assert!(!answer(&mut other, &[&format!("{state}.{}", fresh.split_once('.').unwrap().1)]).await);
    drop((alice, other));
    let records = gateway.stop().await;
    assert!(records.iter().any(|record| kinds(record).contains(&"auth_keyboard_interactive_failed")));
    let told =
        format!("{:?}", records.iter().flatten().map(|message| &message.payload).collect::<Vec<&Payload>>());
    assert!(!told.contains(fresh.split_once('.').unwrap().1), "a code was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_than_the_typed_one_is_refused_where_they_have_to_agree() {
    let dex = Dex::start("http://127.0.0.1:1/").await;
    let configure = configure(&dex, "", true);
    let gateway = Gateway::real(|config| {
        configure(config);
        config.auth.keyboard_interactive.oauth2.oidc.enforce_username = true;
    })
    .await;
    let mut client = Client::connect(&gateway).await;
    let (instructions, _) = begin(&mut client).await;
    enter(&dex, &instructions).await;
    assert!(!answer(&mut client, &[]).await, "Kilgore Trout came in as alice");
    drop(client);
    assert!(gateway.backend.connections.lock().unwrap().is_empty());
    gateway.stop().await;
}
