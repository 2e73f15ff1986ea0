//! Codes of this crate's log messages. Those that ContainerSSH has too mean the same there.

containerssh_log::codes! {
    /// Codes of the kubernetes backend.
    pub mod code {
        KUBERNETES_POD_CREATE = "A pod is being created for a connection.";
        KUBERNETES_POD_CREATE_FAILED = "The cluster refused the pod of a connection, or could not be asked. The message says why; the user is told the same.";
        KUBERNETES_POD_WAIT_FAILED = "The pod of a connection did not become ready: its image cannot be pulled, no node has room, or it took longer than kubernetes.timeouts.podStart. The pod is removed.";
        KUBERNETES_POD_READY = "The pod of a connection can run programs.";
        KUBERNETES_POD_GONE = "The pod of a connection ended by itself while the connection lived: it was evicted, deleted, or reached its deadline.";
        KUBERNETES_POD_REMOVE_SUCCESSFUL = "The pod of a connection was removed.";
        KUBERNETES_POD_REMOVE_FAILED = "The pod of a connection could not be removed yet. It is tried again, in the end by the sweep for leftover pods.";
        KUBERNETES_USERNAME_TOO_LONG = "The user's name does not fit into a label (63 characters): the pod does without containerssh_username.";
        KUBERNETES_LABEL_DROPPED = "A value from authentication that kubernetes.pod.exposeAuthMetadataAsLabels names cannot be a label: the pod does without it.";
        KUBERNETES_EXEC = "A program was started in a pod.";
        KUBERNETES_EXEC_FAILED = "A program could not be started in a pod.";
        KUBERNETES_EXEC_SIGNAL_FAILED = "A program that nobody is connected to any more could not be ended; it ends with its pod.";
        KUBERNETES_AGENT_CONNECTED = "The gateway is connected to the agent in a pod; the label says how: directly, or by exec through the API server.";
        KUBERNETES_AGENT_FALLBACK = "The agent in a pod cannot be reached through the pod network (a network policy, or a gateway outside of the cluster): its connections go by exec, which is slower. kubernetes.pod.agent.transport: exec spares the attempt.";
        KUBERNETES_AGENT_FAILED = "The agent in a pod did not start or cannot be reached. The user was told the same reason; the pod is removed.";
        KUBERNETES_FILE_WRITE = "A file from authentication was written into a pod.";
        KUBERNETES_WATCH_FAILED = "The gateway cannot watch its pods: it needs get, list and watch on pods in their namespace. It is tried again.";
        KUBERNETES_POD_ATTACH = "A connection uses a pod that was there already (kubernetes.pod.mode persistent).";
        KUBERNETES_POD_ATTACH_FAILED = "A connection cannot use its persistent pod: it is not there, has ended, or could not be made. The message says why; the user is told the same.";
        KUBERNETES_POD_NOT_NOTED = "The gateway cannot note on a persistent pod that it is in use: it needs patch on pods in their namespace. A pod with an idle timeout may be removed although it is used.";
        KUBERNETES_POOL_CLAIMED = "A connection was given a pod of the warm pool.";
        KUBERNETES_POOL_CLAIM_FAILED = "A pod of the warm pool could not be given to a connection and is removed; the connection gets another. If it happens each time, the gateway lacks patch on pods in their namespace.";
        KUBERNETES_POOL_START_FAILED = "A pod of the warm pool could not be started. It is tried again, each time after a longer pause; until then connections start their own pods.";
        KUBERNETES_SWEEP_REMOVED = "A leftover pod was removed: its gateway no longer runs.";
        KUBERNETES_SWEEP_FAILED = "The search for leftover pods could not be completed. Nothing was removed on a doubt; it is tried again.";
    }
}
