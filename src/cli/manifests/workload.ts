/** The agent's configuration, its Deployment and what guards it. */
import { type AgentManifestOptions, agentNamespace, agentServiceAccount } from "./agent-options.ts";
import { apiTokenMount, apiTokenVolume, renderArguments, tmpMount, tmpVolume } from "./parts.ts";
import { keySecret } from "./rbac.ts";
import { block, literal } from "./yaml-text.ts";

const configMap = "sallyport-authentication";
const configFolder = "/etc/sallyport";
const joinFolder = "/var/run/secrets/sallyport/join";
/** The shortest that the TokenRequest API gives; the kubelet renews a token when four fifths have passed. */
const joinTokenSeconds = 600;
/** The Deployment's grace period: longer than the agent lets its streams run after it was told to stop. */
const graceSeconds = 60;
const httpsPort = 443;
const usualApiserverPort = 6443;

/** The ConfigMap that says who may come in, and the Secret that the agent keeps the cluster's key pair in. */
export function renderConfiguration(options: AgentManifestOptions): string {
  const { gatewayCa, issuerKeys } = options;
  return `# Who may come in. The gateway cannot write this; a change takes effect when the agent is restarted.
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${literal(configMap)}
  namespace: ${literal(agentNamespace)}
data:
  authentication.yaml:${block(options.authenticationConfiguration, 4)}${optionalFile("issuer-keys.json", issuerKeys)}${optionalFile("gateway-ca.crt", gatewayCa)}---
# The agent writes the cluster's key pair into it once. Without data here, so that applying this again keeps the key.
apiVersion: v1
kind: Secret
metadata:
  name: ${literal(keySecret)}
  namespace: ${literal(agentNamespace)}
type: Opaque
`;
}

function optionalFile(name: string, text: string | undefined): string {
  return text === undefined ? "" : `  ${name}:${block(text, 4)}`;
}

/** Deployment, PodDisruptionBudget and NetworkPolicy. */
export function renderWorkload(options: AgentManifestOptions): string {
  return [renderDeployment(options), disruptionBudget, renderNetworkPolicy(options)].join("---\n");
}

function renderDeployment(options: AgentManifestOptions): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: sallyport-agent
  namespace: ${literal(agentNamespace)}
  labels: { app.kubernetes.io/name: sallyport-agent, app.kubernetes.io/part-of: sallyport }
spec:
  replicas: ${options.replicas}
  # A new replica joins before an old one leaves; running streams of the old one get the grace period to end.
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }
  # The agent has no port to probe. One that cannot start ends at once, long before this has passed.
  minReadySeconds: 10
  selector:
    matchLabels: { app.kubernetes.io/name: sallyport-agent }
  template:
    metadata:
      labels: { app.kubernetes.io/name: sallyport-agent, app.kubernetes.io/part-of: sallyport }
    spec:
${renderPod(options)}`;
}

function renderPod(options: AgentManifestOptions): string {
  return `      serviceAccountName: ${literal(agentServiceAccount)}
      automountServiceAccountToken: false
      # No Service is meant for the agent, and each would be four variables.
      enableServiceLinks: false
      terminationGracePeriodSeconds: ${graceSeconds}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: { type: RuntimeDefault }
      topologySpreadConstraints:
        # One node's end should not be the end of all replicas.
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: { app.kubernetes.io/name: sallyport-agent }
      containers:
        - name: agent
          image: ${literal(options.image)}
          imagePullPolicy: IfNotPresent
          # Why it could not start stands in the pod's status too.
          terminationMessagePolicy: FallbackToLogsOnError
          args:
${renderArguments(agentArguments(options))}          env:
            # Tells the replicas apart at the gateway, and names them in the audit log.
            - { name: POD_UID, valueFrom: { fieldRef: { fieldPath: metadata.uid } } }
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
            - { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
            - { name: NODE_NAME, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
          resources:
            requests: { cpu: 50m, memory: 96Mi }
            # Streams are bounded, so memory is; a limit on the processor would only slow users down.
            limits: { memory: 512Mi }
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
            - { name: configuration, mountPath: ${configFolder}, readOnly: true }
            - { name: join-token, mountPath: ${joinFolder}, readOnly: true }
${apiTokenMount}${tmpMount}${renderVolumes(options)}`;
}

function renderVolumes(options: AgentManifestOptions): string {
  return `      volumes:
        - name: configuration
          configMap: { name: ${literal(configMap)} }
        # Shown to the gateway: worth nothing at this or any other apiserver, because of its audience.
        - name: join-token
          projected:
            sources:
              - serviceAccountToken:
                  path: token
                  audience: ${literal(options.joinAudience)}
                  expirationSeconds: ${joinTokenSeconds}
        # Shown to this cluster's apiservers.
${apiTokenVolume}${tmpVolume}`;
}

function agentArguments(options: AgentManifestOptions): readonly string[] {
  return [
    "agent",
    `--gateway=${options.gateway}`,
    `--cluster=${options.cluster}`,
    `--authentication-config=${configFolder}/authentication.yaml`,
    ...options.allowedGroups.map((group) => `--allow-group=${group}`),
    ...options.allowedKubeletPaths.map((path) => `--allow-kubelet-path=${path}`),
    ...(options.issuerKeys === undefined ? [] : [`--issuer-keys=${configFolder}/issuer-keys.json`]),
    ...(options.gatewayCa === undefined ? [] : [`--gateway-ca=${configFolder}/gateway-ca.crt`]),
    ...(options.apiservers ?? []).map((url) => `--apiserver=${url}`),
    `--join-token-file=${joinFolder}/token`,
    `--key-secret=${agentNamespace}/${keySecret}`,
  ];
}

const disruptionBudget = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: sallyport-agent
  namespace: ${literal(agentNamespace)}
spec:
  # A drained node takes one replica with it, never all: the cluster stays reachable.
  maxUnavailable: 1
  selector:
    matchLabels: { app.kubernetes.io/name: sallyport-agent }
`;

function renderNetworkPolicy(options: AgentManifestOptions): string {
  const addresses = [options.gateway, ...(options.apiservers ?? [])];
  const ports = [...new Set([httpsPort, usualApiserverPort, ...addresses.map(portOf)])].toSorted((a, b) => a - b);
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: sallyport-agent
  namespace: ${literal(agentNamespace)}
spec:
  podSelector:
    matchLabels: { app.kubernetes.io/name: sallyport-agent }
  # No rule for Ingress: nothing may connect to the agent, and it listens nowhere.
  policyTypes: [Ingress, Egress]
  egress:
    # Names.
    - ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]
    # The gateway, the issuers and the apiservers. Their addresses change, so only the ports are named; narrow it where yours do not.
    - ports: [${ports.map((port) => `{ protocol: TCP, port: ${port} }`).join(", ")}]
`;
}

function portOf(url: string): number {
  const port = URL.parse(url)?.port ?? "";
  return port === "" ? httpsPort : Number(port);
}
