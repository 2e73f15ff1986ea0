//! What the process itself uses, by the names that Prometheus' client libraries share. Read from `/proc` when scraped;
//! where there is no `/proc`, there are no such metrics.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

/// Of `proc_pid_stat(5)`, what the metrics need.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time, clock ticks.
    cpu: u64,
    /// When the process started, clock ticks since boot.
    start: u64,
    /// Virtual memory, bytes.
    virtual_memory: u64,
    /// Resident memory, pages.
    resident: u64,
}

impl Stat {
    /// `line` as `/proc/self/stat` has it. The second field, in parentheses, may hold anything, parentheses too.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first field here is its third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(14)?.checked_add(field(15)?)?,
            start: field(22)?,
            virtual_memory: field(23)?,
            resident: field(24)?,
        })
    }
}

/// `btime` of `/proc/stat`: when the machine started, seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of open files.
fn max_fds() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

impl Collector for ProcessCollector {
    #[allow(clippy::cast_precision_loss, reason = "clock ticks are far below what a float holds exactly")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ticks = clock_ticks_per_second() as f64;
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|line| Stat::parse(&line));
        if let Some(stat) = &stat {
            let resident = stat.resident.saturating_mul(page_size() as u64);
            gauge("process_resident_memory_bytes", "Resident memory size in bytes", resident as f64)?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                stat.virtual_memory as f64,
            )?;
            if let Some(boot) = boot_time() {
                let start = boot as f64 + stat.start as f64 / ticks;
                gauge("process_start_time_seconds", "Start of the process, seconds since 1970", start)?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // Reading the directory takes a descriptor itself.
            let open = open.count().saturating_sub(1);
            gauge("process_open_fds", "Open file descriptors", open as f64)?;
        }
        if let Some(most) = max_fds() {
            gauge("process_max_fds", "Most file descriptors that may be open", most as f64)?;
        }
        if let Some(stat) = stat {
            let cpu = ConstCounter::new(stat.cpu as f64 / ticks);
            let help = "User and system CPU time, in seconds";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 6 0 0 20 0 4 0 4242 1048576 300 18446744073709551615";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat, Stat { cpu: 56, start: 4242, virtual_memory: 1_048_576, resident: 300 });
    }

    #[test]
    fn a_short_line_is_no_statistic() {
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_scrape_shows_this_process() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 100_000.0, "{text}");
        assert!(value("process_open_fds ") >= 3.0, "{text}");
        assert!(value("process_max_fds ") >= value("process_open_fds "), "{text}");
        assert!(value("process_start_time_seconds ") > 1.6e9, "{text}");
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
    }
}
