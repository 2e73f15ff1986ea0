//! Others in the cluster reach the port, too.

use std::sync::Arc;

use containerssh_backend::Guest as _;
use containerssh_link::{Direct, Identity, LinkError, RemoteGuest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Agent, collect, greet, spec, within};

async fn connect(
    agent: &Agent,
    identity: &Identity,
    key: containerssh_link::PublicKey,
) -> Result<RemoteGuest, LinkError> {
    let carrier = Arc::new(Direct { address: agent.address(), timeout: std::time::Duration::from_secs(30) });
    within("an answer", RemoteGuest::connect("pod".into(), carrier, identity, key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_that_started_it_gets_in_and_only_once() {
    let agent = Agent::start().await;
    let stranger = Identity::generate().unwrap();
    assert!(connect(&agent, &stranger, agent.key()).await.is_err(), "a gateway that did not start it");
    assert!(
        connect(&agent, &agent.identity, stranger.public().clone()).await.is_err(),
        "an agent that we did not start"
    );
    let guest = agent.connect().await;
    assert!(connect(&agent, &agent.identity, agent.key()).await.is_err(), "a second control connection");
    let mut program = guest.start(spec("echo fine")).await.unwrap();
    assert_eq!(collect(program.output.as_mut()).await.0, b"fine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_at_the_door_harms_nobody() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    for noise in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0; 100_000], b""] {
        let mut socket = TcpStream::connect(agent.address()).await.unwrap();
        // Refused while we are still sending, perhaps.
        let _ = socket.write_all(noise).await;
        let _ = socket.shutdown().await;
        let _ = within("the door to close", socket.read_to_end(&mut Vec::new())).await;
    }
    let mut program = guest.start(spec("echo fine")).await.unwrap();
    assert_eq!(collect(program.output.as_mut()).await.0, b"fine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_makes_no_sense_starts_nothing_and_is_explained() {
    for (greeting, reason) in [
        ("", "EOF"),
        ("{}", "missing field"),
        (r#"{"protocol":99,"key":"","local":true}"#, "the gateway 99"),
        (r#"{"protocol":1,"key":"%%%","local":true}"#, "not a public key"),
    ] {
        let (output, errors) = greet(greeting).await;
        assert!(output.is_empty() && errors.contains(reason), "{greeting}: {output} {errors}");
    }
}
