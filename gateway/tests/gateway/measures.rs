//! What metrics and records say of connections: where they come from, how long users wait.

use containerssh_auditlog::Payload;
use containerssh_config::GeoIpProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Client, Gateway, within};

#[tokio::test]
async fn the_wait_for_a_program_s_first_byte_is_measured_once_per_program() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    client.exec(b"echo one; echo two; echo three", b"").await;
    client.exec(b"true", b"").await;
    let text = gateway.scrape();
    assert!(text.contains("containerssh_ssh_first_byte_seconds_count 1\n"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn clients_are_counted_and_recorded_with_their_country() {
    let gateway = Gateway::start(|config| {
        config.geoip.provider = GeoIpProvider::MaxMind;
        config.geoip.maxmind_geoip2_file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/GeoIP2-Country-Test.mmdb").to_owned();
        config.ssh.proxy_protocol.trusted_cidrs = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    for address in ["81.2.69.160", "10.0.0.1"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(format!("PROXY TCP4 {address} 127.0.0.1 40000 22\r\n").as_bytes()).await.unwrap();
        within("the identification", stream.read_exact(&mut [0; 8])).await.unwrap();
    }
    let text = gateway.scrape();
    for country in ["GB", "XX"] {
        let line = format!("containerssh_ssh_connections_total{{country=\"{country}\"}} 1\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
    let mut countries: Vec<String> = gateway
        .stop()
        .await
        .iter()
        .map(|record| match &record[0].payload {
            Payload::Connect { country, .. } => country.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    countries.sort();
    assert_eq!(countries, ["GB", "XX"]);
}
