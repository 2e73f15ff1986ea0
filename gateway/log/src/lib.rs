//! Log lines in ContainerSSH's format: levels, a stable code on every message, secrets kept out
