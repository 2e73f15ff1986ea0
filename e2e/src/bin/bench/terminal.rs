//! What terminals show: real programs run on a real terminal, as this machine has them.
//!
//! A session's text is not prose, and not one listing over and over: how it shrinks depends on what it is. So each kind of work gives
//! a part: listings, searches, logs, manuals, a compiler's complaints, the history of these sources, an editor and a monitor
//! that redraw the screen. A program that is not there gives nothing; with too little altogether the measurement is refused.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A program, and the most that is taken of what it shows, in bytes: no kind may drown the others.
struct Part {
    name: &'static str,
    command: &'static str,
    most: usize,
}

/// Less would be one kind of work alone.
const LEAST: usize = 8_000_000;
const LARGE: usize = 4_000_000;
const SMALL: usize = 1_000_000;

const PARTS: [Part; 11] = [
    Part {
        name: "listing",
        command: "ls -lR --color=always /etc /usr/lib /usr/share /usr/include",
        most: LARGE,
    },
    Part { name: "search", command: "grep -rn --color=always include /usr/include", most: LARGE },
    Part { name: "history", command: "git --no-pager log -p --stat --color=always", most: LARGE },
    Part { name: "disassembly", command: "objdump -d --disassembler-color=terminal /bin/bash", most: LARGE },
    Part {
        name: "packages",
        command: "dpkg -l; dpkg -s $(dpkg-query -W -f '${Package} ' | cut -c1-2000)",
        most: SMALL,
    },
    Part { name: "logs", command: "cat /var/log/dpkg.log /var/log/apt/*.log", most: SMALL },
    Part {
        name: "manual",
        command: "for page in bash gcc find tar ssh_config ps ls; do MANWIDTH=110 man $page; done",
        most: SMALL,
    },
    Part {
        name: "processes",
        command: "for i in 1 2 3 4 5; do ps auxf; ls -l --color=always /proc/self/ /dev; done",
        most: SMALL,
    },
    Part { name: "monitor", command: "top -d 0.05 -n 60", most: SMALL },
    Part {
        name: "compiler",
        command: "for i in $(seq 60); do echo \"#include <vector>\nint f$i() { std::vector<int> v; v.push_back(\\\"x\\\"); return u$i; }\"; done \
                  | g++ -Wall -fdiagnostics-color=always -x c++ -c -o /dev/null -",
        most: SMALL,
    },
    // Page by page, as somebody reads; without `redraw` it would draw only the last.
    Part {
        name: "editor",
        command: "vim -u NONE -c 'syntax on' -c 'while line(\".\") < line(\"$\") | exe \"normal! \\<C-f>\" | redraw | endwhile' \
                  -c 'qall!' Cargo.lock",
        most: SMALL,
    },
];

/// The terminal that they run on, in characters.
pub(crate) const COLUMNS: u32 = 120;
pub(crate) const ROWS: u32 = 40;

/// Those that paint the whole screen.
const FULL_SCREEN: [&str; 2] = ["monitor", "editor"];

/// What they showed, one after another.
pub(crate) fn text() -> Result<Vec<u8>> {
    let all = text_of(|_| true)?;
    ensure!(all.len() >= LEAST, "only {} bytes of terminal text could be had, not {LEAST}", all.len());
    Ok(all)
}

/// What those showed that paint the whole screen, several times: one after another they are like one that goes on.
pub(crate) fn full_screens() -> Result<Vec<u8>> {
    let once = text_of(|part| FULL_SCREEN.contains(&part.name))?;
    ensure!(!once.is_empty(), "neither of {FULL_SCREEN:?} showed anything");
    Ok(once.repeat(LEAST.div_ceil(once.len())))
}

fn text_of(wanted: impl Fn(&Part) -> bool) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for part in PARTS.iter().filter(|part| wanted(part)) {
        let shown = show(part).with_context(|| format!("running: {}", part.command))?;
        #[allow(clippy::print_stderr, reason = "a measurement says what of")]
        {
            eprintln!("text of {}: {} bytes", part.name, shown.len());
        }
        all.extend_from_slice(&shown);
    }
    Ok(all)
}

/// Runs it on a terminal of its own.
fn show(part: &Part) -> Result<Vec<u8>> {
    // Enough is enough: the program gets SIGPIPE.
    let command = format!("stty cols {COLUMNS} rows {ROWS}; {{ {}; }} 2>&1", part.command);
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("timeout 60 script -qec \"$0\" /dev/null | head -c {}", part.most))
        .arg(command)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("TERM", "xterm-256color")
        .envs(["PAGER", "MANPAGER", "GIT_PAGER"].map(|name| (name, "cat")))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    Ok(output.stdout)
}
