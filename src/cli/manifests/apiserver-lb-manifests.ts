/**
 * The agent's role `apiserver-lb` on every node: a balancer that clients of the node reach at localhost. It has a namespace and a
 * ServiceAccount of its own, which may look where the apiservers are and nothing else.
 */
import { type Account, apiTokenMount, apiTokenVolume, renderArguments, renderBinding, renderServiceAccount } from "./parts.ts";
import { literal } from "./yaml-text.ts";

/** What the manifests are made from. */
export interface ApiserverLbManifestOptions {
  /** The agent's container image. */
  readonly image: string;
  /** Where clients on each node connect, such as 127.0.0.1:7443. */
  readonly listen: string;
}

const name = "sallyport-apiserver-lb";
const namespace = name;
const account: Account = { name, namespace };
const statusPort = 7444;
/** Connections may go on so long after a pod was told to stop; its grace period is longer. */
const drainSeconds = 30;

/** Everything to apply, in the order in which it has to exist. */
export function renderApiserverLbManifests(options: ApiserverLbManifestOptions): string {
  return [head, namespaceManifest, renderApiserverLbRbac(), renderDaemonSet(options)].join("---\n");
}

/** The rights alone, for admins who review or install them apart. */
export function renderApiserverLbRbac(): string {
  return [serviceAccount, role, binding].join("---\n");
}

const head =
  "# Sallyport's balancer in front of the apiservers, for clients on every Linux node. docs/apiserver-lb.md says how to use it.\n";

const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ${literal(namespace)}
  labels:
    # The host's network is what the other profiles of the Pod Security Standards keep away; nothing else belongs here.
    pod-security.kubernetes.io/enforce: privileged
`;

const serviceAccount = renderServiceAccount(account, "The DaemonSet mounts the token that the role uses, with a lifetime of its own.");

const role = `# Kubernetes gives /readyz to every account, by its own ClusterRole system:public-info-viewer.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(name)}
  namespace: "default"
rules:
  # Which apiservers stand behind the Service "kubernetes". RBAC cannot name objects in a list.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list]
`;

const binding = renderBinding("Role", name, account, "default");

function renderDaemonSet(options: ApiserverLbManifestOptions): string {
  return `apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
  labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
spec:
  # One node after the other: clients of a node lose their connections when its pod ends.
  updateStrategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 1 }
  selector:
    matchLabels: { app.kubernetes.io/name: ${name} }
  template:
    metadata:
      labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
    spec:
${renderPod(options)}`;
}

function renderPod({ image, listen }: ApiserverLbManifestOptions): string {
  const args = [
    "agent",
    "--roles=apiserver-lb",
    `--listen=${listen}`,
    `--status=127.0.0.1:${statusPort}`,
    `--drain-seconds=${drainSeconds}`,
  ];
  return `      serviceAccountName: ${literal(name)}
      automountServiceAccountToken: false
      enableServiceLinks: false
      # Its clients are those of the node, and reach it at localhost.
      hostNetwork: true
      dnsPolicy: Default
      priorityClassName: system-node-critical
      nodeSelector: { kubernetes.io/os: linux }
      tolerations: [{ operator: Exists }]
      terminationGracePeriodSeconds: ${drainSeconds + 10}
      containers:
        - name: agent
          image: ${literal(image)}
          imagePullPolicy: IfNotPresent
          # Why it could not start stands in the pod's status too.
          terminationMessagePolicy: FallbackToLogsOnError
          args:
${renderArguments(args)}          # Not alive where it listens no more; that no apiserver is ready is not its own fault, and no reason to cut what is open.
          livenessProbe:
            httpGet: { host: 127.0.0.1, path: /livez, port: ${statusPort} }
            periodSeconds: 20
            failureThreshold: 3
          readinessProbe:
            httpGet: { host: 127.0.0.1, path: /healthz, port: ${statusPort} }
            periodSeconds: 5
          resources:
            requests: { cpu: 20m, memory: 64Mi }
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
            seccompProfile: { type: RuntimeDefault }
          volumeMounts:
${apiTokenMount}      volumes:
${apiTokenVolume}`;
}
