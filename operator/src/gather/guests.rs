//! Users' pods that a gateway left behind in another namespace: its own namespace's go with the pod that owns them, but
//! owners do not cross namespaces.

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{
    apply::CALL_TIMEOUT,
    children::{NAME_LABEL, NAMESPACE_LABEL, Owner},
    error::{Error, within},
};

/// Deletions at once.
const AT_ONCE: usize = 8;

/// Ends what a gateway whose pods are gone has left in `namespace`.
pub async fn end(client: &Client, owner: &Owner, namespace: &str) -> Result<(), Error> {
    if namespace == owner.namespace() {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = format!(
        "app.kubernetes.io/name=containerssh-guest,{NAMESPACE_LABEL}={},{NAME_LABEL}={}",
        owner.namespace(),
        owner.name.name
    );
    let params = ListParams::default().labels(&selector);
    let found =
        within(CALL_TIMEOUT, || format!("list the guests in {namespace}"), api.list_metadata(&params))
            .await?;
    let mut deletions = stream::iter(found.items.iter().map(ResourceExt::name_any))
        .map(|name| {
            let api = api.clone();
            async move {
                let what = || format!("delete Pod {namespace}/{name}");
                within(CALL_TIMEOUT, what, api.delete(&name, &DeleteParams::background())).await
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(deleted) = deletions.next().await {
        match deleted {
            Err(error) if error.status_code() != Some(404) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
