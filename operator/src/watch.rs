//! Watches: each keeps a store current and tells what was touched, in that order.
//!
//! kube's `Controller` opens its own watch per trigger; a reconcile could then run before the store it reads has
//! seen the very event that caused it, which for an audit policy would mean rendering the previous one. Here one
//! watch feeds both: first the store, then the mark. It also runs on standby replicas, whose marks simply wait.
//!
//! A relist (after a broken watch) does not tell which objects vanished meanwhile: [`Touched::Relisted`] makes the
//! listener look at everything it is responsible for.

use std::{fmt::Debug, hash::Hash};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        reflector::store::Writer,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::code;

/// What a watch saw; the store already shows it.
#[derive(Debug)]
pub enum Touched<'a, K> {
    Changed(&'a K),
    Deleted(&'a K),
    Relisted,
}

/// Runs a watch that feeds a store, until `stop`; it never gives up, retries have kube's backoff (0.8 to 30 s).
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    label: String,
    stop: CancellationToken,
    on_touched: impl FnMut(Touched<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    follow_part(api, config, writer, |_| {}, label, stop, on_touched).await;
}

/// The same, keeping only the part of each object that `slim` leaves.
pub async fn follow_part<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    slim: fn(&mut K),
    label: String,
    stop: CancellationToken,
    on_touched: impl FnMut(Touched<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let events = watcher::watcher(api, config)
        .default_backoff()
        // Nothing here reads managedFields, and they are most of an object's metadata.
        .modify(move |object| {
            object.meta_mut().managed_fields = None;
            slim(object);
        })
        .reflect(writer);
    tell(events, label, stop, on_touched).await;
}

/// Runs a watch that keeps nothing, until `stop`.
pub async fn overhear<K>(
    api: Api<K>,
    label: String,
    stop: CancellationToken,
    on_touched: impl FnMut(Touched<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
    tell(events, label, stop, on_touched).await;
}

async fn tell<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    label: String,
    stop: CancellationToken,
    mut on_touched: impl FnMut(Touched<'_, K>),
) {
    let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => on_touched(Touched::Changed(&object)),
            Ok(Event::Delete(object)) => on_touched(Touched::Deleted(&object)),
            // Between Init and InitDone the store still shows the old list.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(Event::InitDone) => on_touched(Touched::Relisted),
            Err(error) => {
                tracing::warn!(code = code::OPERATOR_WATCH_FAILED, kind = %label, "The watch broke and will be opened again: {error}");
            }
        }
    }
}
