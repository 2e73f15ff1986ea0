//! The API: SSHGateway and AuditPolicy, and the pure merge of policies
