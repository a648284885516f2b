/**
 * The agent's role `service-proxy` on every node, in place of kube-proxy. It has a namespace and a ServiceAccount of its own: what it needs
 * of the node (the host's network, NET_ADMIN) is what the other roles must never have, and the other way round.
 */
import { serviceProxyNamespace as namespace } from "#core/node-states.ts";
import { agentAccount } from "./agent-options.ts";
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
import { block, literal } from "./yaml-text.ts";

/** What the manifests are made from. */
export interface ServiceProxyManifestOptions {
  /** The KubeProxyConfiguration's text, as the admin wrote it. */
  readonly configuration: string;
  /** Addresses of the apiservers: what the Service default/kubernetes leads to works only once the role serves it. */
  readonly apiservers: readonly string[];
  /** The agent's container image. */
  readonly image: string;
  /** The key of a taint that nodes register with, to be removed once their rules are there. */
  readonly startupTaint?: string;
}

const name = "sallyport-service-proxy";
const ownAccount: Account = { name, namespace };
const stateReader = "sallyport-node-states";
/** Where kube-proxy's own manifests have its files, so that the paths in them stay right. */
const configFolder = "/var/lib/kube-proxy";
const sysctlFolder = "/host/proc/sys";
const healthzPort = 10_256;

/** Everything to apply, in the order in which it has to exist. */
export function renderServiceProxyManifests(options: ServiceProxyManifestOptions): string {
  return [head, namespaceManifest, renderServiceProxyRbac(options), renderConfigMap(options), renderDaemonSet(options)].join("---\n");
}

/** The rights alone, for admins who review or install them apart. */
export function renderServiceProxyRbac({ startupTaint }: ServiceProxyManifestOptions): string {
  const clusterWide = [renderClusterRole(startupTaint), renderBinding("ClusterRole", name, ownAccount)];
  const inNamespace = [
    stateRole,
    renderBinding("Role", name, ownAccount, namespace),
    readerRole,
    renderBinding("Role", stateReader, agentAccount, namespace),
  ];
  return [serviceAccount, ...clusterWide, ...inNamespace].join("---\n");
}

const head =
  "# Sallyport's service proxy for every Linux node. docs/migrate-from-kube-proxy.md says how to put it in kube-proxy's place.\n";

const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ${literal(namespace)}
  labels:
    # The host's network and NET_ADMIN are what the other profiles of the Pod Security Standards keep away; nothing else belongs here.
    pod-security.kubernetes.io/enforce: privileged
`;

const serviceAccount = renderServiceAccount(ownAccount, "The DaemonSet mounts the token that the role uses, with a lifetime of its own.");

function renderClusterRole(startupTaint: string | undefined): string {
  return `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ${literal(name)}
rules:
  # Which addresses and ports Services have, in all namespaces. Read, never changed.
  - apiGroups: [""]
    resources: [services]
    verbs: [list, watch]
  # Which endpoints stand behind them.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
  # The ranges of cluster IPs: what is not given out in them is dropped.
  - apiGroups: [networking.k8s.io]
    resources: [servicecidrs]
    verbs: [list, watch]
  # The node's own addresses, zone, pod ranges and wish for traffic. Only that Node is asked for; RBAC has no word for "one's own", so the
  # right is for all of them.
  - apiGroups: [""]
    resources: [nodes]
    verbs: [list, watch]
  # Says at a Service that its health check node port cannot be opened.
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create]
${renderTaintRule(startupTaint)}`;
}

function renderTaintRule(startupTaint: string | undefined): string {
  if (startupTaint === undefined) return "";
  return `  # Removes the taint ${literal(startupTaint)} from the node once its rules are there. RBAC cannot narrow this to one taint, nor to one's
  # own Node: leave --startup-taint out where that is too much.
  - apiGroups: [""]
    resources: [nodes]
    verbs: [get, patch]
`;
}

const stateRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
rules:
  # Tells how this node's rules are, for "sallyport status", in a Lease with the node's name. RBAC cannot name an object before it is there.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create]
  # Renews it each minute, and when its state changes. RBAC has no word for "one's own", so the right is for all Leases of this namespace,
  # where there are no others: a node could make another one look well or ill, and nothing more.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [get, update]
`;

const readerRole = `# For the agent that reports to the gateway. Without it everything works, and "sallyport status" shows no nodes.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(stateReader)}
  namespace: ${literal(namespace)}
rules:
  # What the nodes tell. RBAC cannot name objects in a list; this namespace has no other Leases.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [list]
`;

function renderConfigMap({ configuration }: ServiceProxyManifestOptions): string {
  return `# kube-proxy's own configuration file, unchanged. Pods end and start anew within some two minutes of a change that means something; the
# rules stay meanwhile, and running connections go on. A file with a mistake changes nothing: "sallyport status" tells it.
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
data:
  config.conf:${block(configuration, 4)}`;
}

function renderDaemonSet(options: ServiceProxyManifestOptions): string {
  return `apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
  labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
spec:
  # A pod that is replaced leaves its rules in place, so nothing is interrupted; what changes meanwhile waits for the new one.
  updateStrategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 10% }
  selector:
    matchLabels: { app.kubernetes.io/name: ${name} }
  template:
    metadata:
      labels: { app.kubernetes.io/name: ${name}, app.kubernetes.io/part-of: sallyport }
    spec:
${renderPod(options)}`;
}

function renderPod(options: ServiceProxyManifestOptions): string {
  return `      serviceAccountName: ${literal(name)}
      automountServiceAccountToken: false
      enableServiceLinks: false
      # Its rules are those of the node.
      hostNetwork: true
      # Cluster DNS is a Service, which works only once this pod does.
      dnsPolicy: Default
      priorityClassName: system-node-critical
      nodeSelector: { kubernetes.io/os: linux }
      # Without it no Service works on a node, whatever is wrong with the node otherwise.
      tolerations: [{ operator: Exists }]
      terminationGracePeriodSeconds: 30
      containers:
        - name: agent
          image: ${literal(options.image)}
          imagePullPolicy: IfNotPresent
          # Why it could not start stands in the pod's status too.
          terminationMessagePolicy: FallbackToLogsOnError
          args:
${renderArguments(serviceProxyArguments(options))}          env:
            - { name: NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
          # A proxy whose rules have been late for a minute is restarted; /healthz, which load balancers ask, is something else.
          livenessProbe:
            httpGet: { path: /livez, port: ${healthzPort} }
            initialDelaySeconds: 60
            periodSeconds: 20
            failureThreshold: 6
          resources:
            requests: { cpu: 50m, memory: 96Mi }
          securityContext:
            # User 0 without its powers: a process of another user would get no capability at all.
            runAsUser: 0
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL], add: [NET_ADMIN] }
            seccompProfile: { type: RuntimeDefault }
          volumeMounts:
            - { name: configuration, mountPath: ${configFolder}, readOnly: true }
${apiTokenMount}            - { name: sysctls, mountPath: ${sysctlFolder}/net }
${tmpMount}${volumes}`;
}

const volumes = `      volumes:
        - name: configuration
          configMap: { name: ${literal(name)} }
${apiTokenVolume}        # The settings of connection tracking: a container's own /proc/sys is read-only. Without this mount they are the node's own, and
        # the log says which of them differ.
        - name: sysctls
          hostPath: { path: /proc/sys/net, type: Directory }
${tmpVolume}`;

function serviceProxyArguments({ apiservers, startupTaint }: ServiceProxyManifestOptions): readonly string[] {
  return [
    "agent",
    "--roles=service-proxy",
    `--config=${configFolder}/config.conf`,
    ...apiservers.map((url) => `--apiserver=${url}`),
    `--sysctl-folder=${sysctlFolder}`,
    ...(startupTaint === undefined ? [] : [`--startup-taint=${startupTaint}`]),
  ];
}
