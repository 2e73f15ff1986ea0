//! The operator: reconciles SSHGateway and AuditPolicy into gateway workloads
