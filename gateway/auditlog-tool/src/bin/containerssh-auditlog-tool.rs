//! Reads audit logs. See [`containerssh_auditlog_tool`].

fn main() -> std::process::ExitCode {
    containerssh_auditlog_tool::main()
}
