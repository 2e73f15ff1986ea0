//! The audit pipeline: tap, one ordered writer per connection, durable spool, upload to S3
