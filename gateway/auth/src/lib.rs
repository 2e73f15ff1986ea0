//! Who a client is: ContainerSSH's authentication webhooks and authorized_keys files
