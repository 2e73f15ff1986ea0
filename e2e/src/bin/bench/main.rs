//! Measurements, each against a peer in the same run: `bench [NAME...]`.
//!
//! One line per figure, tab-separated: name, ours, peer's, ratio ours/peer. The machines this runs on are shared and noisy, so both
//! sides alternate within one run, medians are printed, and only the ratio means anything.
#![allow(clippy::indexing_slicing, reason = "it is all tests; JSON that lacks a field gives null")]

mod agent;
mod connect;
mod encoder;
mod login;
mod memory;
mod operator;
mod reader;
mod stage;
mod terminal;
mod transfer;
mod warm;

use anyhow::{Result, bail};

/// One figure.
struct Figure {
    name: &'static str,
    ours: f64,
    peer: f64,
    unit: &'static str,
}

impl Figure {
    fn print(&self) {
        #[allow(clippy::print_stdout, reason = "this is what the program is for")]
        {
            println!(
                "{}\t{:.3} {unit}\t{:.3} {unit}\t{:.3}",
                self.name,
                self.ours,
                self.peer,
                self.ours / self.peer,
                unit = self.unit
            );
        }
    }
}

/// All names, in the order in which they run. Those before `ON_CLUSTER` need none.
const NAMES: [&str; 19] = [
    "encoder",
    "encoder-text",
    "decoder",
    "search",
    "search-full-screen",
    "handshakes",
    "idle-10k",
    "bruteforce-login",
    "exec-down",
    "exec-up",
    "agent-down",
    "agent-up",
    "echo",
    "record-cost",
    "cold-connect",
    "warm-connect-p50",
    "warm-connect-p99",
    "idle-memory",
    "operator",
];
const ON_CLUSTER: usize = 8;
/// Those that need a gateway with an agent in its pods.
const BY_AGENT: [&str; 3] = ["agent-down", "agent-up", "echo"];

#[tokio::main]
async fn main() -> Result<()> {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("no measurement is called {unknown}; there are: {}", NAMES.join(", "));
    }
    if wanted.is_empty() {
        wanted = NAMES.map(str::to_owned).to_vec();
    }
    let wants = |name: &str| wanted.iter().any(|each| each == name);
    alone(wants)?;
    at_the_door(wants).await?;
    if NAMES[ON_CLUSTER..].iter().any(|name| *name != "operator" && wants(name)) {
        on_cluster(wants).await?;
    }
    if wants("operator") {
        operator::measure().await?.iter().for_each(Figure::print);
    }
    Ok(())
}

/// What takes one process.
fn alone(wants: impl Fn(&str) -> bool) -> Result<()> {
    if wants("encoder") {
        encoder::random()?.print();
    }
    if wants("encoder-text") {
        encoder::text()?.iter().for_each(Figure::print);
    }
    if wants("decoder") || wants("search") {
        let log = reader::Log::make()?;
        if wants("decoder") {
            log.records()?.print();
            log.json()?.print();
        }
        if wants("search") {
            log.search("search")?.print();
        }
    }
    if wants("search-full-screen") {
        reader::Log::of_full_screens()?.search("search-full-screen")?.print();
    }
    Ok(())
}

/// What takes a gateway on this machine.
async fn at_the_door(wants: impl Fn(&str) -> bool) -> Result<()> {
    if wants("handshakes") {
        login::handshakes().await?.print();
    }
    if wants("idle-10k") {
        login::idle().await?.print();
    }
    if wants("bruteforce-login") {
        login::bruteforce().await?.print();
    }
    Ok(())
}

async fn on_cluster(wants: impl Fn(&str) -> bool) -> Result<()> {
    if BY_AGENT.into_iter().any(&wants) {
        with_agent(&wants).await?;
    }
    if !NAMES[ON_CLUSTER..].iter().any(|name| !BY_AGENT.contains(name) && wants(name)) {
        return Ok(());
    }
    let stage = stage::Stage::set().await?;
    if wants("exec-down") {
        transfer::down(&stage).await?.print();
    }
    if wants("exec-up") {
        transfer::up(&stage).await?.print();
    }
    if wants("record-cost") {
        transfer::record_cost(&stage).await?.iter().for_each(Figure::print);
    }
    if wants("cold-connect") {
        connect::cold(&stage).await?.print();
    }
    if wants("warm-connect-p50") || wants("warm-connect-p99") {
        let figures = warm::connect().await?;
        figures.iter().filter(|figure| wants(figure.name)).for_each(Figure::print);
    }
    if wants("idle-memory") {
        memory::idle(&stage).await?.print();
    }
    stage.clear().await
}

/// Through the agent, against sshd.
async fn with_agent(wants: &impl Fn(&str) -> bool) -> Result<()> {
    let pair = agent::Pair::open().await?;
    if wants("agent-down") {
        pair.down().await?.iter().for_each(Figure::print);
    }
    if wants("agent-up") {
        pair.up().await?.iter().for_each(Figure::print);
    }
    if wants("echo") {
        pair.echo().await?.iter().for_each(Figure::print);
    }
    pair.close().await
}

/// The middle one of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent / 100).min(values.len() - 1);
    values[index.saturating_sub(1)]
}
