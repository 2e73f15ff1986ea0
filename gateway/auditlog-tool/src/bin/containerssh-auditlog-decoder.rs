//! The same program under the name that ContainerSSH's users know. See [`containerssh_auditlog_tool`].

fn main() -> std::process::ExitCode {
    containerssh_auditlog_tool::main()
}
