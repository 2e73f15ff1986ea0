//! Writes the custom resource definitions.
fn main() {}
