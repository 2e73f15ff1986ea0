//! Deleting what the plan no longer holds: children with the gateway's UID that nobody asked for.

use crate::{
    apply::Applier,
    children::{Child, ChildKind, Owner, Seen},
    error::Error,
    index::Name,
};
use std::{collections::HashSet, sync::Arc};

/// What to delete now. A workload that another replaces stays until the other one has a pod that is ready: users
/// keep a gateway to log in to, and a replacement that never starts does no harm.
pub fn surplus(
    existing: Vec<(ChildKind, Arc<Seen>)>,
    planned: &[Child],
    replacement_ready: bool,
) -> Vec<(ChildKind, Arc<Seen>)> {
    let wanted: HashSet<(ChildKind, Name)> =
        planned.iter().map(|child| (child.kind, child.place())).collect();
    existing
        .into_iter()
        .filter(|(kind, seen)| {
            let place = Name::within(
                seen.metadata.namespace.clone().unwrap_or_default(),
                seen.metadata.name.clone().unwrap_or_default(),
            );
            let needed = kind.is_workload() && !replacement_ready;
            !wanted.contains(&(*kind, place)) && !needed && seen.metadata.deletion_timestamp.is_none()
        })
        .collect()
}

/// Deletes them, and says how many.
pub async fn prune(
    applier: &Applier,
    owner: &Owner,
    planned: &[Child],
    replacement_ready: bool,
) -> Result<usize, Error> {
    let surplus = surplus(applier.children().of(&owner.uid), planned, replacement_ready);
    for (kind, seen) in &surplus {
        applier.delete(*kind, &seen.metadata, &owner.uid).await?;
    }
    Ok(surplus.len())
}

/// Deletes the workloads of a gateway that is being deleted: their pods drain.
pub async fn stop(applier: &Applier, owner: &Owner) -> Result<(), Error> {
    for (kind, seen) in applier.children().of(&owner.uid) {
        if kind.is_workload() && seen.metadata.deletion_timestamp.is_none() {
            applier.delete(kind, &seen.metadata, &owner.uid).await?;
        }
    }
    Ok(())
}

/// Deletes the children that stand in other namespaces, which no owner reference collects. Says whether any were
/// left; their end is seen by the next call.
pub async fn prune_elsewhere(applier: &Applier, owner: &Owner) -> Result<usize, Error> {
    let mut left = 0;
    for (kind, seen) in applier.children().of(&owner.uid) {
        if seen.metadata.namespace.as_deref() != Some(owner.namespace()) {
            left += 1;
            applier.delete(kind, &seen.metadata, &owner.uid).await?;
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;

    fn seen(kind: ChildKind, name: &str) -> (ChildKind, Arc<Seen>) {
        let metadata =
            ObjectMeta { name: Some(name.into()), namespace: Some("ns".into()), ..ObjectMeta::default() };
        (kind, Arc::new(Seen { types: None, metadata, _phantom: std::marker::PhantomData }))
    }

    fn planned(kind: ChildKind, name: &str) -> Child {
        Child { kind, namespace: "ns".into(), name: name.into(), manifest: serde_json::Value::Null }
    }

    fn names(kept: &[(ChildKind, Arc<Seen>)]) -> Vec<&'static str> {
        kept.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    #[test]
    fn what_the_plan_holds_stays_and_the_rest_goes() {
        let existing = vec![seen(ChildKind::Service, "gw"), seen(ChildKind::NetworkPolicy, "gw")];
        let surplus = surplus(existing, &[planned(ChildKind::Service, "gw")], true);
        assert_eq!(names(&surplus), ["NetworkPolicy"]);
    }

    #[test]
    fn the_old_workload_stays_until_the_new_one_is_ready() {
        let existing = || vec![seen(ChildKind::Deployment, "gw"), seen(ChildKind::StatefulSet, "gw")];
        let plan = [planned(ChildKind::StatefulSet, "gw")];
        assert!(surplus(existing(), &plan, false).is_empty());
        assert_eq!(names(&surplus(existing(), &plan, true)), ["Deployment"]);
    }

    #[test]
    fn what_is_being_deleted_is_not_deleted_again() {
        let (kind, object) = seen(ChildKind::Service, "gw");
        let mut object = Arc::unwrap_or_clone(object);
        object.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(surplus(vec![(kind, Arc::new(object))], &[], true).is_empty());
    }
}
