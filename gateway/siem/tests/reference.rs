//! The document that consumers read is the one that the code wrote.

#[test]
fn the_document_lists_the_events_as_they_are() {
    let document = include_str!("../../../docs/siem.md");
    let tables = containerssh_siem::reference::markdown();
    assert!(document.contains(&tables), "put this into docs/siem.md:\n\n{tables}");
}
