/** The agent's role `load-balancer`, in a namespace and with a ServiceAccount of its own: two replicas, one of which works. */
import {
  type Account,
  apiTokenMount,
  apiTokenVolume,
  renderArguments,
  renderBinding,
  renderServiceAccount,
  tmpMount,
  tmpVolume,
} from "./parts.ts";
import { literal } from "./yaml-text.ts";

/** What the manifests are made from. */
export interface LoadBalancerManifestOptions {
  /** The agent's container image. */
  readonly image: string;
  /** The agent's flags beside the role, such as `--default-class`. */
  readonly flags: readonly string[];
}

const name = "sallyport-load-balancer";
const namespace = name;
const account: Account = { name, namespace };
/** The role's Lease for the driver node-ip. */
const lease = `${name}-node-ip`;
const listenPort = 10_258;

/** Everything to apply, in the order in which it has to exist. */
export function renderLoadBalancerManifests(options: LoadBalancerManifestOptions): string {
  return [head, namespaceManifest, renderLoadBalancerRbac(), renderDeployment(options), disruptionBudget].join("---\n");
}

/** The rights alone, for admins who review or install them apart. */
export function renderLoadBalancerRbac(): string {
  return [
    serviceAccount,
    clusterRole,
    renderBinding("ClusterRole", name, account),
    role,
    renderBinding("Role", name, account, namespace),
  ].join("---\n");
}

const head = "# Load balancers for Services of type LoadBalancer. docs/load-balancers.md says what the flags mean.\n";

const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ${literal(namespace)}
  labels:
    pod-security.kubernetes.io/enforce: restricted
`;

const serviceAccount = renderServiceAccount(account, "The Deployment mounts the token that the role uses, with a lifetime of its own.");

const clusterRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ${literal(name)}
rules:
  # Which Services there are, in all namespaces. RBAC cannot narrow this to one type.
  - apiGroups: [""]
    resources: [services]
    verbs: [list, watch]
  # Writes a Service's addresses, its condition and its finalizers, which the apiserver takes through this subresource too. Services
  # themselves cannot be changed with it. Service proxies believe what is in a status: who has this right can send any address's traffic to
  # any Service, so it belongs to nobody else.
  - apiGroups: [""]
    resources: [services/status]
    verbs: [patch]
  # The nodes' addresses, labels, readiness and deletion. Read, never changed.
  - apiGroups: [""]
    resources: [nodes]
    verbs: [list, watch]
  # Which nodes have endpoints, for externalTrafficPolicy: Local.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
  # Its UID is the cluster's name in everything that is made at a provider.
  - apiGroups: [""]
    resources: [namespaces]
    resourceNames: [kube-system]
    verbs: [get]
  # Says at a Service what was done, and why it has no load balancer.
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create]
`;

const role = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
rules:
  # The Lease by which the replicas agree on one that works. RBAC cannot name an object before it is there.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create]
  # Renews it every three seconds.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [${literal(lease)}]
    verbs: [get, update]
`;

const disruptionBudget = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: { app.kubernetes.io/name: ${name} }
`;

function renderDeployment(options: LoadBalancerManifestOptions): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
  labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
spec:
  # One works, the other takes over: at once when it is stopped, after 30 s when it dies. What Services have stays meanwhile.
  replicas: 2
  selector:
    matchLabels: { app.kubernetes.io/name: ${name} }
  template:
    metadata:
      labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
    spec:
${renderPod(options)}`;
}

function renderPod({ image, flags }: LoadBalancerManifestOptions): string {
  const args = ["agent", "--roles=load-balancer", ...flags];
  return `      serviceAccountName: ${literal(name)}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: { type: RuntimeDefault }
      topologySpreadConstraints:
        # One node's end should not be the end of both replicas.
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: { app.kubernetes.io/name: ${name} }
      containers:
        - name: agent
          image: ${literal(image)}
          imagePullPolicy: IfNotPresent
          # Why it could not start stands in the pod's status too.
          terminationMessagePolicy: FallbackToLogsOnError
          args:
${renderArguments(args)}          env:
            # The Lease's holder, and where the Lease is.
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
            - { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
          ports:
            - { name: metrics, containerPort: ${listenPort} }
          livenessProbe:
            httpGet: { path: /healthz, port: metrics }
            periodSeconds: 20
            failureThreshold: 6
          resources:
            requests: { cpu: 20m, memory: 96Mi }
            limits: { memory: 512Mi }
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
${apiTokenMount}${tmpMount}      volumes:
${apiTokenVolume}${tmpVolume}`;
}
