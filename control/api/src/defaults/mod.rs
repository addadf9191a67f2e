//! Defaults that several kinds share. A kind's own stand in its file. Complete and stable, because `kubectl apply` and
//! `kubectl diff` compare.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go` and the API reference of each field.

pub(crate) mod pod;
