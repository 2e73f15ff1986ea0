//! Other names that published configurations use for our keys, turned into ours before anything else is read.
//!
//! | written | meant |
//! |---|---|
//! | `audit.type` | `audit.storage` |
//! | `audit.local.path`, `audit.s3.local.path` | `audit.s3.local` |
//! | `audit` without `enable`, with a format and a storage | `audit.enable: true` |
//!
//! Two names of one setting that say the same are accepted; that differ, are an error that names both. The last row is
//! ContainerSSH 0.4, which had no `enable`: taking its file for one that records nothing would be the worst way to
//! misread it.

use super::error::{Problem, Problems};
use super::node::{Key, Node, Value};

/// Makes a tree one of our own keys only.
pub(super) fn normalize(tree: &mut Node, problems: &mut Problems) {
    let Some(audit) = map(tree).and_then(|root| entry(root, "audit")) else { return };
    let Some(audit) = map(&mut audit.1) else { return };
    if let Some(kind) = take(audit, "type") {
        merge(audit, "storage", kind, ["audit.type", "audit.storage"], problems);
    }
    if let Some(s3) = entry(audit, "s3").and_then(|(_, s3)| map(s3)) {
        let _found = flatten_path(s3, "audit.s3.local", problems);
    }
    // `audit.local` is nothing but its path.
    if flatten_path(audit, "audit.local", problems)
        && let Some((key, local)) = take(audit, "local")
    {
        if entry(audit, "s3").is_none_or(|(_, s3)| matches!(s3.value, Value::Null)) {
            let _empty = take(audit, "s3");
            let key = Key { name: "s3".to_owned(), line: key.line };
            let line = local.line;
            audit.push((key, Node { line, value: Value::Map(Vec::new()) }));
        }
        if let Some(s3) = entry(audit, "s3").and_then(|(_, s3)| map(s3)) {
            merge(s3, "local", (key, local), ["audit.local.path", "audit.s3.local"], problems);
        }
    }
    let says = |audit: &mut Vec<(Key, Node)>, name: &str| {
        entry(audit, name).is_some_and(|(_, node)| matches!(&node.value, Value::Text(text) if text != "none"))
    };
    if entry(audit, "enable").is_none_or(|(_, node)| matches!(node.value, Value::Null))
        && says(audit, "format")
        && says(audit, "storage")
    {
        let line = entry(audit, "format").map_or(1, |(key, _)| key.line);
        let _null = take(audit, "enable");
        audit.push((Key { name: "enable".to_owned(), line }, Node { line, value: Value::Bool(true) }));
    }
}

/// Puts an entry where it belongs under its proper name, unless something else stands there.
fn merge(
    map: &mut Vec<(Key, Node)>,
    name: &str,
    (key, node): (Key, Node),
    [written, meant]: [&str; 2],
    problems: &mut Problems,
) {
    match entry(map, name) {
        Some((_, there)) if matches!(there.value, Value::Null) => *there = node,
        Some((_, there)) if same(there, &node) => {}
        Some(_) => problems.push(Problem::invalid(
            Some(key.line),
            written.to_owned(),
            &format!("is another name of {meant}, and the two differ: leave one of them out"),
        )),
        None => map.push((Key { name: name.to_owned(), line: key.line }, node)),
    }
}

/// Turns `local: {path: x}` into `local: x`. Says whether there was such a thing.
fn flatten_path(parent: &mut [(Key, Node)], path: &str, problems: &mut Problems) -> bool {
    let Some((_, local)) = entry(parent, "local") else { return false };
    let Some(entries) = map(local) else { return false };
    let Some((_, node)) = take(entries, "path") else { return false };
    for (key, _) in entries.iter() {
        let message = format!("unknown key {path}.{} (there is only {path}.path)", shown(&key.name));
        problems.push(Problem {
            line: Some(key.line),
            path: format!("{path}.{}", shown(&key.name)),
            message,
        });
    }
    *local = node;
    true
}

fn shown(name: &str) -> String {
    containerssh_log::clean::text(name, 100)
}

pub(super) fn map(node: &mut Node) -> Option<&mut Vec<(Key, Node)>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

pub(super) fn entry<'a>(map: &'a mut [(Key, Node)], name: &str) -> Option<&'a mut (Key, Node)> {
    map.iter_mut().find(|(key, _)| key.name == name)
}

pub(super) fn take(map: &mut Vec<(Key, Node)>, name: &str) -> Option<(Key, Node)> {
    let at = map.iter().position(|(key, _)| key.name == name)?;
    Some(map.remove(at))
}

/// Both are words and the same one.
fn same(a: &Node, b: &Node) -> bool {
    matches!((&a.value, &b.value), (Value::Text(a), Value::Text(b)) if a == b)
}
