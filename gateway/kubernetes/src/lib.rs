//! The kubernetes backend: one pod per connection, exec over our own v5 WebSocket framing
