//! Writing children: server-side apply with one field manager, and nothing at all when nothing changed.
//!
//! An apply that changes nothing is cheap for etcd, but it still is a request, and every reconcile would send
//! about ten. So the [`Ledger`] remembers for each child what was applied and the resourceVersion that came back;
//! while the watch still shows that version, nobody has touched the child, and it is skipped. Whatever changes a
//! child (a person, a controller that writes its status) moves its version, and the next reconcile applies again.
//!
//! An object that stands in the way and is not ours is left alone ([`Error::Foreign`]): a force-apply would take
//! over a team's own Service that happens to have the gateway's name.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, Preconditions},
};

use crate::{
    MANAGER,
    backoff::lock,
    children::{Child, ChildKind, Children, NAME_LABEL, NAMESPACE_LABEL, Owner, UID_LABEL, label},
    error::{Error, within},
    index::Name,
    metrics::Metrics,
};

/// One call to the apiserver; its own limit is 60 s, but whoever takes that long is not worth waiting for.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Unchanged,
    Created,
    Written,
}

type Places = HashMap<(ChildKind, Name), Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    digest: [u8; 32],
    resource_version: Option<String>,
}

/// What was applied last, per gateway (by UID). Bounded by the number of children.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, Places>>);

impl Ledger {
    /// Whether this is the version that we wrote last.
    pub fn wrote(&self, kind: ChildKind, found: &ObjectMeta) -> bool {
        let (Some(uid), Some(namespace), Some(name)) =
            (label(found, UID_LABEL), &found.namespace, &found.name)
        else {
            return false;
        };
        let key = (kind, Name::within(namespace, name));
        lock(&self.0).get(uid).and_then(|places| places.get(&key)).is_some_and(|entry| {
            entry.resource_version.is_some() && entry.resource_version == found.resource_version
        })
    }

    fn holds(&self, uid: &str, key: &(ChildKind, Name), entry: &Entry) -> bool {
        entry.resource_version.is_some()
            && lock(&self.0).get(uid).and_then(|places| places.get(key)) == Some(entry)
    }

    fn record(&self, uid: &str, key: (ChildKind, Name), entry: Entry) {
        lock(&self.0).entry(uid.to_owned()).or_default().insert(key, entry);
    }

    fn forget(&self, uid: &str, key: &(ChildKind, Name)) {
        if let Some(places) = lock(&self.0).get_mut(uid) {
            places.remove(key);
        }
    }
}

/// Writes and deletes children.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    children: Arc<Children>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Applier {
    pub fn new(client: Client, children: Arc<Children>, ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { client, children, ledger, metrics }
    }

    pub fn children(&self) -> &Children {
        &self.children
    }

    fn api(&self, kind: ChildKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// The version of a child that the watch shows, if it is the one that we wrote last: then nobody has touched it, and the
    /// watch is not behind.
    pub fn current_version(&self, kind: ChildKind, place: &Name) -> Option<String> {
        let seen = self.children.get(kind, place)?;
        self.ledger.wrote(kind, &seen.metadata).then(|| seen.metadata.resource_version.clone())?
    }

    /// Makes `child` so, if it is not.
    pub async fn apply(&self, child: &Child, owner: &Owner) -> Result<Outcome, Error> {
        let key = (child.kind, child.place());
        let digest = child.digest();
        let seen = self.children.get(child.kind, &key.1);
        let outcome = match &seen {
            Some(seen) => {
                check_ours(child, &seen.metadata, owner)?;
                let entry = Entry { digest, resource_version: seen.metadata.resource_version.clone() };
                if self.ledger.holds(&owner.uid, &key, &entry) {
                    return Ok(Outcome::Unchanged);
                }
                Outcome::Written
            }
            // Not among ours as far as the watch knows: look before taking a name that may be taken.
            None => {
                let api = self.api(child.kind, &child.namespace);
                let what = || format!("look for {child}");
                match within(CALL_TIMEOUT, what, api.get_metadata_opt(&child.name)).await? {
                    Some(found) => {
                        check_ours(child, &found.metadata, owner)?;
                        Outcome::Written
                    }
                    None => Outcome::Created,
                }
            }
        };
        let api = self.api(child.kind, &child.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&child.manifest);
        let written =
            within(CALL_TIMEOUT, || format!("apply {child}"), api.patch(&child.name, &params, &patch)).await;
        self.metrics.wrote(child.kind.as_str(), "apply");
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                return Err(self
                    .recreate_if_immutable(child, seen.map(|seen| seen.metadata.clone()), error)
                    .await);
            }
        };
        let resource_version = written.metadata.resource_version;
        // Applied anew by a new leader, and it was right already.
        let unchanged = seen.is_some_and(|seen| seen.metadata.resource_version == resource_version);
        self.ledger.record(&owner.uid, key, Entry { digest, resource_version });
        Ok(if unchanged { Outcome::Unchanged } else { outcome })
    }

    /// A StatefulSet's volume claim templates cannot change. It is deleted without its pods, which the next one
    /// adopts: sessions go on, and new pods get the new volumes.
    async fn recreate_if_immutable(&self, child: &Child, seen: Option<ObjectMeta>, error: Error) -> Error {
        let (422, ChildKind::StatefulSet, Some(seen)) = (error.status_code().unwrap_or(0), child.kind, seen)
        else {
            return error;
        };
        // An invalid pod template is refused with the same code; only a forbidden *update* is mended by recreation.
        if !error.to_string().contains("updates to statefulset spec for fields other than") {
            return error;
        }
        let orphan =
            DeleteParams::orphan().preconditions(Preconditions { uid: seen.uid, resource_version: None });
        let api = self.api(child.kind, &child.namespace);
        let deleted =
            within(CALL_TIMEOUT, || format!("recreate {child}"), api.delete(&child.name, &orphan)).await;
        self.metrics.wrote(child.kind.as_str(), "delete");
        match deleted {
            Ok(_) => Error::Leaving {
                kind: child.kind.as_str().into(),
                namespace: child.namespace.clone(),
                name: child.name.clone(),
            },
            Err(error) => error,
        }
    }

    /// Deletes one of ours; that it is gone already is fine, and so is that it was replaced meanwhile.
    pub async fn delete(&self, kind: ChildKind, found: &ObjectMeta, uid: &str) -> Result<(), Error> {
        let name = found.name.clone().unwrap_or_default();
        let namespace = found.namespace.clone().unwrap_or_default();
        let params = DeleteParams::background()
            .preconditions(Preconditions { uid: found.uid.clone(), resource_version: None });
        let api = self.api(kind, &namespace);
        let what = || format!("delete {} {namespace}/{name}", kind.as_str());
        let deleted = within(CALL_TIMEOUT, what, api.delete(&name, &params)).await;
        self.metrics.wrote(kind.as_str(), "delete");
        self.ledger.forget(uid, &(kind, Name::within(&namespace, &name)));
        match deleted {
            Err(error) if !matches!(error.status_code(), Some(404 | 409)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets every gateway but these.
    pub fn retain(&self, uids: &HashSet<String>) {
        lock(&self.ledger.0).retain(|uid, _| uids.contains(uid));
    }
}

/// Ours are: this gateway's children, and those that an earlier gateway of the same name left behind orphaned.
fn check_ours(child: &Child, found: &ObjectMeta, owner: &Owner) -> Result<(), Error> {
    let place = || (child.kind.as_str().to_owned(), child.namespace.clone(), child.name.clone());
    let controller = found.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    // The garbage collector goes by the owner reference, so that is proof as well: stripping an object of its labels
    // must not take it out of the operator's hands.
    let owned = controller.is_some_and(|controller| controller.uid == owner.uid);
    let labelled = label(found, NAMESPACE_LABEL) == Some(owner.namespace())
        && label(found, NAME_LABEL) == Some(owner.name.name.as_str());
    if !labelled && !owned {
        let (kind, namespace, name) = place();
        return Err(Error::Foreign { kind, namespace, name });
    }
    if found.deletion_timestamp.is_some() || (controller.is_some() && !owned) {
        let (kind, namespace, name) = place();
        return Err(Error::Leaving { kind, namespace, name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

    fn owner(uid: &str) -> Owner {
        Owner { name: Name::within("team-a", "dev"), uid: uid.into() }
    }

    fn child() -> Child {
        let manifest = serde_json::json!({"a": 1});
        Child { kind: ChildKind::Service, namespace: "team-a".into(), name: "dev".into(), manifest }
    }

    /// Metadata as a gateway with that UID leaves it.
    fn made_by(uid: &str) -> ObjectMeta {
        let controller =
            OwnerReference { controller: Some(true), uid: uid.into(), ..OwnerReference::default() };
        ObjectMeta {
            labels: Some(owner(uid).labels()),
            owner_references: Some(vec![controller]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_object_of_somebody_else_is_left_alone() {
        let theirs = ObjectMeta::default();
        assert!(matches!(check_ours(&child(), &theirs, &owner("1")), Err(Error::Foreign { .. })));
        let mut of_another_gateway = made_by("2");
        of_another_gateway.labels.as_mut().unwrap().insert(NAME_LABEL.into(), "other".into());
        assert!(matches!(check_ours(&child(), &of_another_gateway, &owner("1")), Err(Error::Foreign { .. })));
    }

    #[test]
    fn a_child_without_its_labels_is_still_ours() {
        let stripped = ObjectMeta { labels: None, ..made_by("1") };
        assert!(check_ours(&child(), &stripped, &owner("1")).is_ok());
    }

    #[test]
    fn children_of_an_earlier_gateway_are_waited_for_unless_they_were_orphaned() {
        assert!(matches!(check_ours(&child(), &made_by("old"), &owner("new")), Err(Error::Leaving { .. })));
        let orphaned = ObjectMeta { owner_references: None, ..made_by("old") };
        assert!(check_ours(&child(), &orphaned, &owner("new")).is_ok());
        let leaving =
            ObjectMeta { deletion_timestamp: Some(Time(jiff::Timestamp::UNIX_EPOCH)), ..made_by("1") };
        assert!(matches!(check_ours(&child(), &leaving, &owner("1")), Err(Error::Leaving { .. })));
    }

    #[test]
    fn a_child_is_skipped_only_while_nobody_has_touched_it() {
        let ledger = Ledger::default();
        let key = (ChildKind::Service, child().place());
        let entry =
            |version: &str| Entry { digest: child().digest(), resource_version: Some(version.into()) };
        assert!(!ledger.holds("1", &key, &entry("7")));
        ledger.record("1", key.clone(), entry("7"));
        assert!(ledger.holds("1", &key, &entry("7")));
        assert!(!ledger.holds("1", &key, &entry("8")), "somebody has written it");
        assert!(!ledger.holds("2", &key, &entry("7")), "another gateway");
        let mut other = child();
        other.manifest = serde_json::json!({"a": 2});
        assert!(
            !ledger.holds("1", &key, &Entry { digest: other.digest(), ..entry("7") }),
            "the plan has changed"
        );
        let seen = |version: &str| ObjectMeta {
            name: Some("dev".into()),
            namespace: Some("team-a".into()),
            resource_version: Some(version.into()),
            ..made_by("1")
        };
        assert!(
            ledger.wrote(ChildKind::Service, &seen("7")) && !ledger.wrote(ChildKind::Service, &seen("8"))
        );
        assert!(
            !ledger.wrote(ChildKind::Service, &ObjectMeta { labels: None, ..seen("7") }),
            "whose, it does not say"
        );
        ledger.forget("1", &key);
        assert!(!ledger.holds("1", &key, &entry("7")));
    }
}
