//! The gateway's configuration file: ContainerSSH's keys, strictly parsed into one validated type
