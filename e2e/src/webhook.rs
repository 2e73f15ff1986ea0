//! The server that gateways of a namespace ask: `src/bin/webhook.rs` in a pod, behind the Service `webhook`.

use anyhow::Result;

use crate::Namespace;

/// Starts it, or does nothing if it is there.
pub async fn serve(namespace: &Namespace) -> Result<()> {
    let (name, image) = (&namespace.name, &namespace.cluster.environment.webhook_image);
    namespace
        .cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: webhook, namespace: {name}, labels: {{app: webhook}}}}\n\
             spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: webhook, image: '{image}', imagePullPolicy: Never}}]}}\n\
             ---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: webhook, namespace: {name}}}\n\
             spec: {{selector: {{app: webhook}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        ))
        .await
}
