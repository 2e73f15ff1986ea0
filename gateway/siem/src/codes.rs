//! Codes of this crate's messages.

containerssh_log::codes! {
    /// See the module's description.
    pub mod code {
        AUDIT_EVENTS_FAILED = "A target of audit.events could not be reached or did not take a batch of events. They wait in memory and are sent again.";
        AUDIT_EVENTS_RESUMED = "A target of audit.events takes events again.";
        AUDIT_EVENTS_REFUSED = "A target of audit.events refuses an event for what it is (status 400, 413 or 422), alone and again. It is dropped: look at what the target expects. The session's record has what happened.";
        AUDIT_EVENTS_DROPPED = "Events for a target of audit.events were given up, because the gateway ended or the target was configured away before it took them. The sessions' records have what happened.";
    }
}
