//! The rows. Source: Kubernetes 1.33, `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, and its page "Using RBAC
//! Authorization" (default roles).

use super::rows::Row::{At, Named, On};
use super::rows::Rules::{Aggregated, Rows};
use super::rows::Subject::{Account, Group, User};
use super::rows::{Binding, Role, Row};
use crate::user::{AUTHENTICATED, MASTERS, SERVICE_ACCOUNTS, UNAUTHENTICATED};

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const ALL: &str = "create delete deletecollection get list patch update watch";
/// What may be read in a namespace without seeing anything secret.
const VIEW_CORE: &str = "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods \
    replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status";

const fn plain(name: &'static str, rows: &'static [Row]) -> Role {
    Role { name, part_of: "", rules: Rows(rows) }
}

const fn part(name: &'static str, part_of: &'static str, rows: &'static [Row]) -> Role {
    Role { name, part_of, rules: Rows(rows) }
}

/// ClusterRoles.
pub(super) const CLUSTER_ROLES: &[Role] = &[
    plain("cluster-admin", &[On("*", "*", "*"), At("*", "*")]),
    Role { name: "admin", part_of: "", rules: Aggregated },
    Role { name: "edit", part_of: "admin", rules: Aggregated },
    Role { name: "view", part_of: "edit", rules: Aggregated },
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            On("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            On(ALL, "rbac.authorization.k8s.io", "roles rolebindings"),
        ],
    ),
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            On(READ, "-", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            On("impersonate", "-", "serviceaccounts"),
            On(WRITE, "-", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            On("create", "-", "pods/eviction"),
            On(
                WRITE,
                "-",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
             serviceaccounts services services/proxy",
            ),
            On("create", "-", "serviceaccounts/token"),
            On(
                WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
             statefulsets/scale",
            ),
            On(WRITE, "autoscaling", "horizontalpodautoscalers"),
            On(WRITE, "batch", "cronjobs jobs"),
            On(WRITE, "policy", "poddisruptionbudgets"),
            On(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            On(ALL, "coordination.k8s.io", "leases"),
        ],
    ),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            On(READ, "-", VIEW_CORE),
            On(
                READ,
                "-",
                "bindings events limitranges namespaces/status pods/debug pods/log pods/status replicationcontrollers/status \
             resourcequotas resourcequotas/status",
            ),
            On(READ, "-", "namespaces"),
            On(READ, "discovery.k8s.io", "endpointslices"),
            On(
                READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
             replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            ),
            On(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            On(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            On(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            On(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        ],
    ),
    part("system:aggregated-metrics-reader", "view", &[On(READ, "metrics.k8s.io", "pods nodes")]),
    plain(
        "system:discovery",
        &[At("get", "/healthz /livez /readyz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*")],
    ),
    plain("system:public-info-viewer", &[At("get", "/livez /readyz /healthz /version /version/")]),
    plain(
        "system:basic-user",
        &[
            On("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            On("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    plain(
        "system:monitoring",
        &[At("get", "/metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*")],
    ),
    plain(
        "system:service-account-issuer-discovery",
        &[At(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )],
    ),
    plain(
        "system:auth-delegator",
        &[
            On("create", "authentication.k8s.io", "tokenreviews"),
            On("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    plain("system:kube-aggregator", &[On(READ, "-", "services endpoints")]),
    plain("system:heapster", &[On(READ, "-", "events pods nodes namespaces"), On(READ, "extensions", "deployments")]),
    plain("system:node", NODE),
    plain(
        "system:node-problem-detector",
        &[
            On("get", "-", "nodes"),
            On("patch", "-", "nodes/status"),
            On("create patch update", "- events.k8s.io", "events"),
        ],
    ),
    plain(
        "system:node-bootstrapper",
        &[On("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    plain(
        "system:node-proxier",
        &[
            On("list watch", "-", "services endpoints"),
            On("get list watch", "-", "nodes"),
            On("create patch update", "- events.k8s.io", "events"),
            On("list watch", "discovery.k8s.io", "endpointslices"),
            On("list watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    plain(
        "system:kubelet-api-admin",
        &[
            On(READ, "-", "nodes"),
            On("proxy", "-", "nodes"),
            On(
                "*",
                "-",
                "nodes/proxy nodes/metrics nodes/stats nodes/log nodes/healthz nodes/pods nodes/configz nodes/statusz",
            ),
        ],
    ),
    plain("system:kube-dns", &[On("list watch", "-", "endpoints services")]),
    plain(
        "system:persistent-volume-provisioner",
        &[
            On("get list watch create delete", "-", "persistentvolumes"),
            On("get list watch update", "-", "persistentvolumeclaims"),
            On(READ, "storage.k8s.io", "storageclasses"),
            On("watch", "-", "events"),
            On("create patch update", "- events.k8s.io", "events"),
        ],
    ),
    plain(
        "system:volume-scheduler",
        &[
            On("get list patch update watch", "-", "persistentvolumes"),
            On(READ, "storage.k8s.io", "storageclasses"),
            On("get list patch update watch", "-", "persistentvolumeclaims"),
        ],
    ),
    plain(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[On("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    plain(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[On("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    plain(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[Named("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown")],
    ),
    plain(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[Named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")],
    ),
    plain(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[Named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")],
    ),
    plain(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[Named("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    // Ours: who deploys with `wk deploy` uploads modules, which are no objects and lie in no namespace.
    plain(
        "wk:modules",
        &[At("get head post put patch delete", "/v2 /v2/ /v2/*"), At("get", "/apis/wk.dev/v1/cluster")],
    ),
];

/// What the node authorizer lets every node do, beside what its own pods need. Also the ClusterRole `system:node`,
/// which Kubernetes keeps for clusters without that authorizer.
pub(super) const NODE: &[Row] = &[
    On("create", "authentication.k8s.io", "tokenreviews"),
    On("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
    On(READ, "-", "services"),
    On("create get list watch", "-", "nodes"),
    On("patch update", "-", "nodes/status"),
    On("patch update", "-", "nodes"),
    On("create patch update", "- events.k8s.io", "events"),
    On(READ, "-", "pods"),
    On("create delete", "-", "pods"),
    On("patch update", "-", "pods/status"),
    On("create", "-", "pods/eviction"),
    On(READ, "-", "secrets configmaps"),
    On("get", "-", "persistentvolumeclaims persistentvolumes"),
    On("get", "-", "endpoints"),
    On("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    On("create delete get patch update", "coordination.k8s.io", "leases"),
    On("get", "storage.k8s.io", "volumeattachments"),
    On("create", "-", "serviceaccounts/token"),
    On("get patch update", "-", "persistentvolumeclaims/status"),
    On(READ, "storage.k8s.io", "csidrivers"),
    On("create delete get patch update", "storage.k8s.io", "csinodes"),
    On(READ, "node.k8s.io", "runtimeclasses"),
];

/// ClusterRoleBindings.
pub(super) const CLUSTER_BINDINGS: &[Binding] = &[
    Binding { name: "cluster-admin", subjects: &[Group(MASTERS)] },
    Binding { name: "system:monitoring", subjects: &[Group("system:monitoring")] },
    Binding { name: "system:discovery", subjects: &[Group(AUTHENTICATED)] },
    Binding { name: "system:public-info-viewer", subjects: &[Group(AUTHENTICATED), Group(UNAUTHENTICATED)] },
    Binding { name: "system:basic-user", subjects: &[Group(AUTHENTICATED)] },
    Binding { name: "system:service-account-issuer-discovery", subjects: &[Group(SERVICE_ACCOUNTS)] },
    Binding { name: "system:node", subjects: &[] },
    Binding { name: "system:node-proxier", subjects: &[User("system:kube-proxy")] },
    Binding { name: "system:kube-dns", subjects: &[Account("kube-system", "kube-dns")] },
    Binding { name: "system:volume-scheduler", subjects: &[User("system:kube-scheduler")] },
];

/// Roles, with their namespaces.
pub(super) const ROLES: &[(&str, Role)] = &[
    (
        "kube-system",
        plain(
            "extension-apiserver-authentication-reader",
            &[Named(READ, "-", "configmaps", "extension-apiserver-authentication")],
        ),
    ),
    (
        "kube-system",
        plain(
            "system:controller:token-cleaner",
            &[On("delete get list watch", "-", "secrets"), On("create patch update", "- events.k8s.io", "events")],
        ),
    ),
    (
        "kube-public",
        plain(
            "system:controller:bootstrap-signer",
            &[
                On(READ, "-", "configmaps"),
                Named("update", "-", "configmaps", "cluster-info"),
                On("create patch update", "- events.k8s.io", "events"),
            ],
        ),
    ),
];

/// RoleBindings, with their namespaces.
pub(super) const BINDINGS: &[(&str, Binding)] = &[
    (
        "kube-system",
        Binding { name: "system:controller:token-cleaner", subjects: &[Account("kube-system", "token-cleaner")] },
    ),
    (
        "kube-public",
        Binding { name: "system:controller:bootstrap-signer", subjects: &[Account("kube-system", "bootstrap-signer")] },
    ),
];
