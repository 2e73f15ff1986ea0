//! What is known of a record, in words.

use std::fmt::Write as _;

use containerssh_auditlog::manifest::Signed;
use containerssh_auditlog::tally::Tally;
use containerssh_auditlog::text::visible;
use containerssh_auditlog::verify::{Ending, Piece, Report, State, Verdict};

use super::{Checked, Content, Seal};
use crate::time;

/// One line for the whole, one for each part, one for what it is compared with.
pub(super) fn lines(checked: &Checked) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {}", visible(&checked.file), verdict(checked));
    parts(&mut text, &checked.report);
    match &checked.content {
        None => {}
        Some(Content::Read(content)) => {
            text.push_str("  decrypted:\n");
            parts(&mut text, content);
        }
        Some(Content::Unreadable(problem)) => {
            let _ = writeln!(text, "  decrypted: {}", visible(problem));
        }
    }
    let _ = writeln!(text, "  {}", manifest(checked));
    text
}

fn parts(text: &mut String, report: &Report) {
    for piece in &report.pieces {
        let _ = writeln!(text, "  {}", part(piece));
    }
    if let Ending::Recovery { at, dropped } = report.ending {
        let at = at.map(|at| format!(" at byte {at}")).unwrap_or_default();
        let dropped = match dropped {
            0 => String::new(),
            dropped => format!("; {dropped} bytes behind it, never acknowledged, were dropped"),
        };
        let _ = writeln!(text, "  cut by a crash{at}, closed by recovery{dropped}");
    }
    let _ = writeln!(text, "  {} bytes, sha256 {}{}", report.bytes, report.sha256, records(&report.tally));
}

fn verdict(checked: &Checked) -> &'static str {
    let proven = matches!(checked.manifest, Seal::Used { .. });
    match (checked.verdict(), proven) {
        (Verdict::Intact, true) => "INTACT: as its session wrote it",
        (Verdict::Intact, false) => "INTACT by its chain: nothing was lost or changed by accident",
        (Verdict::Recovered, true) => "INTACT, cut by a crash and closed by recovery",
        (Verdict::Recovered, false) => "INTACT by its chain, cut by a crash and closed by recovery",
        (Verdict::Altered, _) => "ALTERED: not what was written",
        (Verdict::Cut, _) => "CUT: its end is missing, what is there is consistent",
        (Verdict::Unproven, _) if checked.encrypted => {
            "UNPROVEN: encrypted, and without a manifest there is nothing to compare with"
        }
        (Verdict::Unproven, _) => {
            "UNPROVEN: no chain and no manifest; an older version or another program wrote it"
        }
    }
}

fn part(piece: &Piece) -> String {
    let state = match piece.state {
        State::Intact => "intact",
        State::Recovered => "written by recovery",
        State::Unproven => "consistent, but nothing vouches for it",
        State::Cut => "cut: incomplete, or the end is missing",
        State::Missing => "missing",
        State::Altered => "altered",
        State::Misplaced => "out of its place: moved or repeated",
        State::Foreign => "not of this record",
    };
    let members = match piece.members {
        Some((first, last)) if first == last => format!(", segment {first}"),
        Some((first, last)) => format!(", segments {first} to {last}"),
        None => String::new(),
    };
    let range = if piece.from == piece.to {
        format!("at byte {}", piece.from)
    } else {
        format!("bytes {} to {}", piece.from, piece.to)
    };
    format!("{range}: {state}{members}{}", records(&piece.tally))
}

fn records(tally: &Tally) -> String {
    let mut text = match tally.records {
        0 => return String::new(),
        1 => ", 1 record".to_owned(),
        records => format!(", {records} records"),
    };
    if let (Some(first), Some(last)) = (tally.first, tally.last) {
        let _ = write!(text, ", {} to {}", time::text(first), time::text(last));
    }
    text
}

fn manifest(checked: &Checked) -> String {
    match &checked.manifest {
        Seal::Missing => "no manifest".to_owned(),
        Seal::Bad(problem) => format!("manifest: {}", visible(problem)),
        Seal::Used { signed, connection, key } => {
            let agrees = match checked.report.as_manifest {
                Some(true) => "agrees",
                Some(false) => "DISAGREES",
                None => "is of another kind of record",
            };
            let signed = match signed {
                Signed::Yes => "signed by a given key",
                Signed::Unchecked => "signed, but no key was given to check that (--public-key)",
                Signed::No | Signed::Wrong => "not signed: as good as the place where it was kept",
            };
            format!(
                "manifest: {agrees}; {signed}; connection {}, stored as {}",
                visible(connection),
                visible(key)
            )
        }
    }
}
