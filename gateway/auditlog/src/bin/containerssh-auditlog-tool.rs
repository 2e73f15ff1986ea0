//! Reads audit logs: JSON, text, asciicast. See [`containerssh_auditlog::tool`].

fn main() -> std::process::ExitCode {
    containerssh_auditlog::tool::main()
}
