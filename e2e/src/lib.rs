//! Tests and measurements on a real cluster, with real clients and a real S3
