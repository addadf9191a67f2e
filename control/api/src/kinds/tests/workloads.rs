//! The kinds that make or guard pods: what they are filled up with, what they refuse and what may not change.
//!
//! Facts: `pkg/apis/{apps,batch,autoscaling,policy,core}` of Kubernetes 1.33, `v1/defaults.go` and
//! `validation/validation.go` each.

use serde_json::{Value, json};

use super::{refusal, sound};
use crate::kind::Kind;
use crate::kinds::*;
use crate::object::Object;
use crate::patch::merge;
use crate::strategy::{self, DeleteOptions, Deletion, Facts};

fn facts() -> Facts<'static> {
    Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" }
}

pub(super) fn made(kind: &Kind, change: &Value) -> Object {
    let mut body = sound(kind);
    merge(&mut body, change);
    strategy::create(kind, Some("default"), body, &facts()).unwrap_or_else(|status| panic!("{kind}: {status}"))
}

fn changed(kind: &Kind, old: &Object, change: &Value) -> Result<Object, String> {
    let mut new = old.0.clone();
    merge(&mut new, change);
    strategy::update(kind, old, new, &facts()).map_err(|status| status.message)
}

#[test]
fn what_is_left_out_is_filled_in() {
    for (kind, change, pointer, value) in [
        (&STATEFULSET, json!({}), "/spec/podManagementPolicy", json!("OrderedReady")),
        (
            &STATEFULSET,
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ),
        (
            &STATEFULSET,
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
            "/spec/updateStrategy",
            json!({"type": "OnDelete"}),
        ),
        (
            &STATEFULSET,
            json!({}),
            "/spec/persistentVolumeClaimRetentionPolicy",
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
        ),
        (
            &STATEFULSET,
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]}}),
            "/spec/volumeClaimTemplates/0",
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"},
                "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
        ),
        (
            &DAEMONSET,
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
        ),
        (&DAEMONSET, json!({}), "/metadata/annotations", json!({"deprecated.daemonset.template.generation": "1"})),
        (&REPLICATIONCONTROLLER, json!({}), "/spec/selector", json!({"a": "b"})),
        (&REPLICATIONCONTROLLER, json!({}), "/metadata/labels", json!({"a": "b"})),
        (&JOB, json!({}), "/spec/completions", json!(1)),
        (&JOB, json!({"spec": {"parallelism": 3}}), "/spec/completions", Value::Null),
        (&JOB, json!({}), "/spec/backoffLimit", json!(6)),
        (&JOB, json!({}), "/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
        (&JOB, json!({}), "/spec/suspend", json!(false)),
        (&JOB, json!({}), "/spec/selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})),
        (
            &JOB,
            json!({}),
            "/metadata/labels",
            json!({"a": "b", "job-name": "web", "batch.kubernetes.io/job-name": "web",
                "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u"}),
        ),
        (
            &JOB,
            json!({"spec": {"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1}}),
            "/spec/backoffLimit",
            json!(i32::MAX),
        ),
        (&CRONJOB, json!({}), "/spec/concurrencyPolicy", json!("Allow")),
        (&CRONJOB, json!({}), "/spec/successfulJobsHistoryLimit", json!(3)),
        (&CRONJOB, json!({}), "/spec/jobTemplate/spec/template/spec/dnsPolicy", json!("ClusterFirst")),
        (&CRONJOB, json!({}), "/spec/jobTemplate/spec/backoffLimit", Value::Null),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({}),
            "/spec/metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        ),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 9}}}}),
            "/spec/behavior/scaleDown",
            json!({"stabilizationWindowSeconds": 9, "selectPolicy": "Max",
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}),
        ),
        (&PODTEMPLATE, json!({}), "/template/spec/restartPolicy", json!("Always")),
        (&PODDISRUPTIONBUDGET, json!({}), "/status/disruptionsAllowed", json!(0)),
    ] {
        let object = made(kind, &change);
        assert_eq!(object.at(pointer).unwrap_or(&Value::Null), &value, "{kind} {pointer}");
        // Writing it back changes nothing: kubectl apply compares.
        assert_eq!(strategy::update(kind, &object, object.0.clone(), &facts()).unwrap(), object, "{kind}");
    }
}

#[test]
fn broken_workloads_are_refused() {
    for (kind, spec, text) in [
        (
            &STATEFULSET,
            json!({"podManagementPolicy": "X"}),
            "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            &STATEFULSET,
            json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}),
            "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'",
        ),
        (
            &STATEFULSET,
            json!({"updateStrategy": {"rollingUpdate": {"partition": -1}}}),
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater",
        ),
        (&STATEFULSET, json!({"selector": {"matchLabels": null}}), "empty selector is invalid for statefulset"),
        (&STATEFULSET, json!({"serviceName": "a.b"}), "spec.serviceName: Invalid value: \"a.b\""),
        (&DAEMONSET, json!({"selector": null}), "`selector` does not match template `labels`"),
        (
            &DAEMONSET,
            json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}),
            "maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
        (
            &DAEMONSET,
            json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "0%"}}}),
            "maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            &DAEMONSET,
            json!({"template": {"spec": {"activeDeadlineSeconds": 5}}}),
            "Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ),
        (&REPLICATIONCONTROLLER, json!({"selector": {"a": "c"}}), "`selector` does not match template `labels`"),
        (&REPLICATIONCONTROLLER, json!({"template": null}), "spec.template: Required value"),
        (
            &JOB,
            json!({"template": {"spec": {"restartPolicy": "Always"}}}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            &JOB,
            json!({"completionMode": "Indexed", "completions": null, "parallelism": 1}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            &JOB,
            json!({"backoffLimitPerIndex": 1}),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        ),
        (&JOB, json!({"manualSelector": true}), "spec.selector: Required value"),
        (&JOB, json!({"template": {"metadata": {"labels": {"controller-uid": "other"}}}}), "must be 'u'"),
        (&JOB, json!({"selector": {"matchLabels": {"controller-uid": "other"}}}), "`selector` not auto-generated"),
        (
            &JOB,
            json!({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}}),
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ),
        (
            &JOB,
            json!({"podFailurePolicy": {"rules": [{"action": "X", "onExitCodes": {"operator": "In", "values": [0, 2, 1, 1]}}]}}),
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,2,1,1]: must be ordered",
        ),
        (
            &JOB,
            json!({"successPolicy": {"rules": []}}),
            "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode",
        ),
        (&CRONJOB, json!({"schedule": ""}), "spec.schedule: Required value"),
        (
            &CRONJOB,
            json!({"schedule": "error"}),
            "spec.schedule: Invalid value: \"error\": expected exactly 5 fields, found 1: [error]",
        ),
        (
            &CRONJOB,
            json!({"schedule": "TZ=UTC 0 * * * *"}),
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        (
            &CRONJOB,
            json!({"timeZone": "Foo/Bar"}),
            "spec.timeZone: Invalid value: \"Foo/Bar\": unknown time zone Foo/Bar",
        ),
        (&CRONJOB, json!({"concurrencyPolicy": "X"}), "supported values: \"Allow\", \"Forbid\", \"Replace\""),
        (
            &CRONJOB,
            json!({"jobTemplate": {"spec": {"selector": {}}}}),
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
        ),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({"maxReplicas": 0}),
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ),
        (&HORIZONTALPODAUTOSCALER, json!({"scaleTargetRef": {"name": ""}}), "spec.scaleTargetRef.name: Required value"),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({"metrics": [{"type": "Pods"}]}),
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "X"}}}]}),
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either",
        ),
        (
            &HORIZONTALPODAUTOSCALER,
            json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 4000}}}),
            "must be less than or equal to 3600",
        ),
        (
            &HORIZONTALPODAUTOSCALER_V1,
            json!({"minReplicas": 0}),
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
        ),
        (
            &PODDISRUPTIONBUDGET,
            json!({"minAvailable": 1, "maxUnavailable": 1}),
            "minAvailable and maxUnavailable cannot be both set",
        ),
        (
            &PODDISRUPTIONBUDGET,
            json!({"minAvailable": "110%"}),
            "spec.minAvailable: Invalid value: \"110%\": must not be greater than 100%",
        ),
        (
            &PODDISRUPTIONBUDGET,
            json!({"unhealthyPodEvictionPolicy": "X"}),
            "supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ),
    ] {
        let message = refusal(kind, &json!({"spec": spec}));
        assert!(message.contains(text), "{text}\nin {message}");
    }
    assert!(refusal(&CONTROLLERREVISION, &json!({"data": null})).ends_with("data: Required value: data is mandatory"));
    assert!(refusal(&STATEFULSET, &json!({"metadata": {"name": "a.b"}})).contains("a lowercase RFC 1123 label must"));
    let long = json!({"metadata": {"name": "a".repeat(53)}});
    assert!(refusal(&CRONJOB, &long).contains("must be no more than 52 characters"));
}

#[test]
fn what_may_not_change_stays() {
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let set = made(&STATEFULSET, &json!({}));
    assert_eq!(changed(&STATEFULSET, &set, &image).unwrap().generation(), 2);
    let message = changed(&STATEFULSET, &set, &json!({"spec": {"serviceName": "x"}})).unwrap_err();
    assert!(
        message.contains("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'")
    );
    let daemons = made(&DAEMONSET, &json!({}));
    let again = changed(&DAEMONSET, &daemons, &image).unwrap();
    assert_eq!(again.annotation("deprecated.daemonset.template.generation"), Some("2"));
    let job = made(&JOB, &json!({}));
    assert_eq!(changed(&JOB, &job, &json!({"spec": {"parallelism": 2}})).unwrap().generation(), 2);
    for change in [json!({"spec": {"completions": 2}}), image.clone()] {
        assert!(changed(&JOB, &job, &change).unwrap_err().contains("field is immutable"));
    }
    let waiting = made(&JOB, &json!({"spec": {"suspend": true}}));
    let placed = json!({"spec": {"template": {"spec": {"nodeSelector": {"zone": "a"}}}}});
    assert!(changed(&JOB, &waiting, &placed).is_ok());
    assert!(changed(&JOB, &job, &placed).is_err());
    let indexed = made(&JOB, &json!({"spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2}}));
    assert!(changed(&JOB, &indexed, &json!({"spec": {"completions": 3, "parallelism": 3}})).is_ok());
    assert!(changed(&JOB, &indexed, &json!({"spec": {"completions": 3}})).unwrap_err().contains("in tandem"));
    let revision = made(&CONTROLLERREVISION, &json!({}));
    assert!(changed(&CONTROLLERREVISION, &revision, &json!({"data": {"a": 1}})).unwrap_err().contains("immutable"));
}

#[test]
fn a_deleted_job_leaves_its_pods_unless_told_otherwise() {
    let job = made(&JOB, &json!({}));
    let now = facts().now;
    let Deletion::Mark(marked) = strategy::delete(&JOB, &job, &DeleteOptions::default(), now).unwrap() else {
        panic!("not marked");
    };
    assert_eq!(marked.finalizers(), ["orphan"]);
    let background = DeleteOptions::parse(&json!({"propagationPolicy": "Background"})).unwrap();
    assert_eq!(strategy::delete(&JOB, &job, &background, now).unwrap(), Deletion::Remove);
}

#[test]
fn an_autoscaler_of_version_one_is_stored_as_version_two() {
    let v1 = &HORIZONTALPODAUTOSCALER_V1;
    let stored = made(v1, &json!({"spec": {"targetCPUUtilizationPercentage": 50}}));
    assert_eq!(stored.api_version(), "autoscaling/v2");
    assert_eq!(stored.at("/spec/metrics/0/resource/target/averageUtilization"), Some(&json!(50)));
    let shown = v1.shown(&stored).into_owned();
    assert_eq!((shown.api_version(), shown.int("/spec/targetCPUUtilizationPercentage")), ("autoscaling/v1", Some(50)));
    assert!(shown.at("/spec/metrics").is_none());
    let mut new = shown.0.clone();
    new["spec"]["maxReplicas"] = json!(9);
    let updated = strategy::update(v1, &stored, new, &facts()).unwrap();
    assert_eq!((updated.api_version(), updated.int("/spec/maxReplicas")), ("autoscaling/v2", Some(9)));
    assert_eq!(strategy::update(v1, &stored, shown.0.clone(), &facts()).unwrap(), stored);
    assert_eq!((v1.storage(), v1.is_storage()), (&HORIZONTALPODAUTOSCALER, false));
}
