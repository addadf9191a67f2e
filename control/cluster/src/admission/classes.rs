//! Kubernetes' plug-ins `DefaultStorageClass`, `DefaultIngressClass` and `PersistentVolumeClaimResize`.

use std::cmp::Reverse;
use std::sync::Arc;

use wk_api::kinds::storageclasses::DEFAULT_CLASS;
use wk_api::{Kind, Object, Quantity, Status, kinds};
use wk_store::View;

use crate::{key, object};

const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
const OLD_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim that names no class gets the default one. Naming the empty class is naming one.
pub(super) fn storage(view: &View, claim: &mut Object) {
    if claim.at("/spec/storageClassName").is_some() || claim.annotation(OLD_STORAGE_CLASS).is_some() {
        return;
    }
    if let Some(class) = default_of(view, &kinds::STORAGECLASS, DEFAULT_CLASS) {
        claim.0["spec"]["storageClassName"] = class.name().into();
    }
}

/// An ingress that names no class gets the default one.
pub(super) fn ingress(view: &View, ingress: &mut Object) {
    if ingress.at("/spec/ingressClassName").is_some() || ingress.annotation(OLD_INGRESS_CLASS).is_some() {
        return;
    }
    if let Some(class) = default_of(view, &kinds::INGRESSCLASS, DEFAULT_INGRESS_CLASS) {
        ingress.0["spec"]["ingressClassName"] = class.name().into();
    }
}

/// Of several default classes the newest, as in Kubernetes; of two of one second the first by name.
fn default_of(view: &View, kind: &Kind, annotation: &str) -> Option<Arc<Object>> {
    view.list(kind.collection(), "")
        .map(|stored| object(&stored))
        .filter(|class| class.annotation(annotation) == Some("true"))
        .min_by_key(|class| (Reverse(class.creation_timestamp()), class.name().to_owned()))
}

/// A claim may grow only if its class says that its volumes can.
pub(super) fn check(view: &View, kind: &Kind, old: Option<&Object>, new: &Object) -> Result<(), Status> {
    let Some(old) = old.filter(|_| *kind == kinds::PERSISTENTVOLUMECLAIM) else { return Ok(()) };
    let size = |claim: &Object| {
        claim.at("/spec/resources/requests/storage").and_then(|amount| Quantity::from_value(amount).ok())
    };
    if size(new) <= size(old) {
        return Ok(());
    }
    let class = view.get(&key(&kinds::STORAGECLASS, None, old.text("/spec/storageClassName")));
    let grows = class.is_some_and(|class| object(&class).at("/allowVolumeExpansion") == Some(&true.into()));
    if grows {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
        support resize";
    Err(Status::forbidden(kind, new.name(), why))
}
