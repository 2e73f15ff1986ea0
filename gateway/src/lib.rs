//! A ContainerSSH-compatible SSH gateway: one pod per connection, every byte recorded
