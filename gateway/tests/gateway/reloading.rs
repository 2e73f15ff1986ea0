//! A changed configuration file.

use std::path::Path;
use std::sync::Arc;

use containerssh_gateway::Snapshot;
use containerssh_gateway::reload::{Assemble, Follower, Loaded, load};

use crate::support::{Client, Gateway, config};

/// Makes snapshots for a gateway of the tests.
struct Assembler(Arc<Gateway>);

impl Assemble for Assembler {
    async fn assemble(&mut self, loaded: &Loaded) -> anyhow::Result<Snapshot> {
        Ok(self.0.snapshot(&loaded.config, &loaded.hash))
    }
}

fn write(file: &Path, gateway: &Gateway, more: impl FnOnce(&mut containerssh_config::Config)) {
    let mut config = config(&gateway.directory.path().join("audit"));
    config.auth.public_key.authorized_keys.paths = vec!["/etc/keys/%u".to_owned()];
    more(&mut config);
    std::fs::write(file, config.to_yaml().unwrap()).unwrap();
}

#[tokio::test]
async fn new_connections_follow_a_changed_file_and_old_ones_keep_theirs() {
    let gateway = Arc::new(Gateway::start(|_| {}).await);
    let file = gateway.directory.path().join("config.yaml");
    write(&file, &gateway, |_| {});
    let loaded = load(&file).unwrap();
    let mut follower =
        Follower::new(file.clone(), &loaded, gateway.snapshots.clone(), Assembler(gateway.clone()));
    let old = Client::login(&gateway).await;

    write(&file, &gateway, |config| {
        config.ssh.limits.sessions_per_connection = 1;
        config.audit.policy.hash = "p2".into();
    });
    follower.look().await;
    assert_eq!(gateway.snapshots.load().policy_hash, "p2");
    assert_eq!(gateway.snapshots.load().config_hash, load(&file).unwrap().hash);

    let new = Client::login(&gateway).await;
    let _first = new.open().await;
    assert!(new.session.channel_open_session().await.is_err(), "the new limit does not hold");
    let _several = (old.open().await, old.open().await);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_good_one_counts_again() {
    let gateway = Arc::new(Gateway::start(|_| {}).await);
    let file = gateway.directory.path().join("config.yaml");
    write(&file, &gateway, |_| {});
    let loaded = load(&file).unwrap();
    let mut follower =
        Follower::new(file.clone(), &loaded, gateway.snapshots.clone(), Assembler(gateway.clone()));
    let before = gateway.snapshots.load_full();
    for bad in ["ssh: {lissten: x}\n", "\u{1}", ""] {
        std::fs::write(&file, bad).unwrap();
        follower.look().await;
        assert!(Arc::ptr_eq(&before, &gateway.snapshots.load_full()), "{bad:?} was taken");
    }
    std::fs::remove_file(&file).unwrap();
    follower.look().await;
    assert!(Arc::ptr_eq(&before, &gateway.snapshots.load_full()), "a missing file was taken");
    write(&file, &gateway, |config| config.audit.policy.hash = "p3".into());
    follower.look().await;
    assert_eq!(gateway.snapshots.load().policy_hash, "p3");
}
