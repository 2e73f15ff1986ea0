//! ContainerSSH audit logs: record types, FORMAT v1 and v2 codec, asciicast, and the tool that reads them
