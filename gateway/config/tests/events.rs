//! `audit.events`: what it means, and what is wrong with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::time::Duration;

use containerssh_config::{Config, EventKind, EventSyslog, EventWebhook, Syntax, SyslogProtocol};

fn read(audit: &str) -> Result<Config, String> {
    let text = format!(
        "auth: {{publicKey: {{authorizedKeys: {{paths: [/keys/%u]}}}}}}\naudit:\n  enable: true\n  format: binary\n  storage: file\n{audit}"
    );
    Config::parse(&text, "c.yaml", Syntax::Yaml).map_err(|error| error.to_string())
}

fn error(audit: &str) -> String {
    read(audit).err().unwrap_or_else(|| panic!("was accepted:\n{audit}"))
}

#[test]
fn a_target_needs_its_address_alone() {
    let config = read("  events: [{webhook: {url: 'http://h'}}, {syslog: {address: 'h:1'}}]\n").unwrap();
    let [webhook, syslog] = &config.audit.events[..] else { panic!() };
    let expected = EventWebhook { url: "http://h".into(), ..EventWebhook::default() };
    assert_eq!(webhook.webhook.as_ref().unwrap(), &expected);
    assert_eq!((expected.timeout, expected.batch.delay), (Duration::from_secs(10), Duration::from_secs(1)));
    let expected = EventSyslog { address: "h:1".into(), ..EventSyslog::default() };
    assert_eq!(syslog.syslog.as_ref().unwrap(), &expected);
    assert_eq!((expected.protocol, expected.facility), (SyslogProtocol::Tls, 13));
}

#[test]
fn addresses_are_hosts_with_ports() {
    let parts = |address: &str| {
        let syslog = EventSyslog { address: address.into(), ..EventSyslog::default() };
        syslog.host_and_port().map(|(host, port)| (host.to_owned(), port))
    };
    for (address, host, port) in [
        ("logs.example.net:6514", "logs.example.net", 6514),
        ("192.0.2.1:514", "192.0.2.1", 514),
        ("[2001:db8::1]:6514", "2001:db8::1", 6514),
    ] {
        assert_eq!(parts(address), Some((host.to_owned(), port)));
    }
    for address in
        ["", "h", "h:", ":1", "h:0", "h:65536", "h:+1x", "[h]:1", "[::1:1", "a b:1", "tcp://h:1", "h/x:1"]
    {
        assert_eq!(parts(address), None, "{address}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (events, expected) in [
        ("[{}]", "audit.events[0] (must have exactly one of webhook and syslog)"),
        (
            "[{webhook: {url: 'http://h'}, syslog: {address: 'h:1'}}]",
            "audit.events[0] (must have exactly one of webhook and syslog)",
        ),
        ("[{webhook: {}}]", "audit.events[0].webhook.url (is missing)"),
        (
            "[{webhook: {url: 'ftp://h'}}]",
            "audit.events[0].webhook.url (must begin with http:// or https://)",
        ),
        ("[{webhook: {url: 'https:///x'}}]", "audit.events[0].webhook.url (names no host)"),
        (
            "[{webhook: {url: 'https://u:p@h'}}]",
            "audit.events[0].webhook.url (must not hold a user name or password",
        ),
        ("[{webhook: {url: 'https://h/#x'}}]", "audit.events[0].webhook.url (must not have a fragment"),
        ("[{webhook: {url: 'https://h/a b'}}]", "audit.events[0].webhook.url (must be printable ASCII"),
        (
            "[{webhook: {url: 'https://h', bearerToken: a, bearerTokenFile: /a}}]",
            "audit.events[0].webhook.bearerTokenFile (bearerToken is set as well: give one of them)",
        ),
        (
            "[{webhook: {url: 'https://h', bearerToken: 'a b'}}]",
            "webhook.bearerToken (must be printable ASCII",
        ),
        (
            "[{webhook: {url: 'https://h', bearerTokenFile: a}}]",
            "webhook.bearerTokenFile (must be an absolute path)",
        ),
        (
            "[{webhook: {url: 'https://h', cert: /a}}]",
            "webhook.key (is missing: cert is set, and they belong together)",
        ),
        (
            "[{webhook: {url: 'http://h', cacert: /a}}]",
            "webhook.cacert (has an effect only with an https:// URL)",
        ),
        ("[{webhook: {url: 'http://h', timeout: 1ms}}]", "webhook.timeout (must be between 100ms and 5m)"),
        (
            "[{webhook: {url: 'http://h', batch: {events: 0}}}]",
            "webhook.batch.events (must be between 1 and 10000)",
        ),
        (
            "[{webhook: {url: 'http://h', batch: {bytes: 1}}}]",
            "webhook.batch.bytes (must be between 1Ki and 16Mi)",
        ),
        ("[{webhook: {url: 'http://h', batch: {delay: 1h}}}]", "webhook.batch.delay (must be at most 1m)"),
        (
            "[{webhook: {url: 'http://h', include: []}}]",
            "webhook.include (is empty, so nothing would be sent",
        ),
        ("[{webhook: {url: 'http://h', include: [gap]}}]", "\"gap\" is always sent"),
        ("[{webhook: {url: 'http://h', include: [stdout, exce]}}]", "\"exce\" is not one of \"connect\""),
        ("[{syslog: {address: h}}]", "audit.events[0].syslog.address (must be host:port"),
        ("[{syslog: {address: 'h:1', protocol: udp}}]", "\"udp\" loses messages without anybody noticing"),
        (
            "[{syslog: {address: 'h:1', protocol: tcp, cacert: /a}}]",
            "syslog.cacert (has an effect only with protocol: tls)",
        ),
        ("[{syslog: {address: 'h:1', facility: 24}}]", "syslog.facility (must be between 0 and 23"),
        (
            "[{syslog: {address: 'h:1', messageBytes: 1Ki}}]",
            "syslog.messageBytes (must be between 2Ki and 1Mi)",
        ),
        ("[{syslog: {adress: 'h:1'}}]", "audit.events[0].syslog.adress"),
    ] {
        let text = error(&format!("  events: {events}\n"));
        assert!(text.contains(expected), "{events}\n{text}");
        assert!(text.starts_with("c.yaml:6: "), "{text}");
    }
    let many = "{syslog: {address: 'h:1'}}, ".repeat(9);
    assert!(error(&format!("  events: [{many}]\n")).contains("audit.events (has more than 8 targets)"));
}

#[test]
fn limits_keep_room_for_several_events() {
    for (limits, expected) in [
        ("{queue: 1Ki}", "audit.eventLimits.queue (must be between 4Mi and 4Gi)"),
        ("{dataBytes: 2Mi}", "audit.eventLimits.dataBytes (must be between 256 and 1Mi)"),
        (
            "{queue: 4Mi, dataBytes: 512Ki}",
            "dataBytes (must be at most a sixteenth of audit.eventLimits.queue)",
        ),
    ] {
        let text = error(&format!("  eventLimits: {limits}\n"));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn events_of_what_is_not_recorded_are_an_error() {
    let text = "auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\naudit: {enable: false, events: [{webhook: {url: 'http://h'}}]}\n";
    let error = Config::parse(text, "c.yaml", Syntax::Yaml).unwrap_err().to_string();
    assert!(error.contains("audit.events (has an effect only if audit.enable is true"), "{error}");
}

#[test]
fn every_type_can_be_asked_for() {
    for kind in EventKind::ALL {
        let config =
            read(&format!("  events: [{{webhook: {{url: 'http://h', include: [{kind}]}}}}]\n")).unwrap();
        assert_eq!(config.audit.events[0].webhook.as_ref().unwrap().include, Some(vec![*kind]));
    }
}
