//! Codes of the recorder's messages. Those of the reference are used where the event is the same.

containerssh_log::codes! {
    /// See the module's description.
    pub mod code {
        AUDIT_RECORD_FAILED = "A session's audit record can no longer be written. The session ends, or goes on unrecorded where audit.onFailure is allow.";
        AUDIT_RECORD_RESUMED = "A session's audit record can be written again. The gap is recorded in it.";
        AUDIT_RECORD_FINISHED = "A session's audit record is complete, with this digest, and will be delivered.";
        AUDIT_RECORD_UNSIGNED = "The key of audit.signing could not be used for records that an earlier run left behind: their manifests are not signed.";
        AUDIT_RECORD_INCOMPLETE = "A session's audit record could not be completed. It stays in the spool and is completed and uploaded when the gateway starts again.";
        AUDIT_SPOOL_FULL = "The spool holds as much as it may: audit.spool.onFull decides what happens to sessions until uploads free space.";
        AUDIT_SPOOL_RECOVERING = "Records of an earlier run were found in the spool and will be uploaded.";
        AUDIT_SPOOL_RECOVERED = "A record that a crash cut short was completed.";
        AUDIT_SPOOL_DAMAGED = "A record in the spool is damaged in a way that a crash does not explain. What cannot be uploaded was moved to the directory corrupt, and is not deleted.";
        AUDIT_SPOOL_SIDECAR_DAMAGED = "The file that tells where a record belongs is damaged. The record goes where the present configuration sends records.";
        AUDIT_SPOOL_FAILED = "The spool's directory could not be read or changed.";
        AUDIT_FILE_STORED = "A record was stored in its directory.";
        AUDIT_UPLOAD_FAILED = "A record could not be delivered. It stays in the spool and is tried again.";
        AUDIT_S3_SINGLE_UPLOAD = "A record is uploaded with one request.";
        AUDIT_S3_SINGLE_UPLOAD_COMPLETE = "A record was uploaded.";
        AUDIT_S3_MULTIPART_UPLOAD = "A record is uploaded in parts.";
        AUDIT_S3_MULTIPART_UPLOAD_FINALIZED = "A record was uploaded in parts.";
        AUDIT_S3_MULTIPART_ABORTING = "An upload in parts is given up, so that its parts do not stay in the bucket.";
        AUDIT_S3_MULTIPART_FAILED_ABORT = "An upload in parts could not be given up. Its parts stay in the bucket until a lifecycle rule removes them.";
        AUDIT_S3_MULTIPART_FAILED_LIST = "Unfinished uploads of an earlier run could not be listed. Their parts stay in the bucket until a lifecycle rule removes them.";
        AUDIT_S3_OBJECT_EXISTS = "Another object lies where a record belongs. It is not overwritten: the record is stored beside it under a longer name.";
        AUDIT_S3_NO_CONDITIONS = "The store does not know conditional writes (If-None-Match). Records are uploaded without.";
        AUDIT_S3_REMOVE_FAILED = "A record was delivered, but could not be removed from the spool.";
    }
}
