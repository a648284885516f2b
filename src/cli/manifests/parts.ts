/** What the manifests of all roles have in common: accounts and their bindings, arguments, and the way to the apiservers. */
import { items, literal } from "./yaml-text.ts";

/** A ServiceAccount. */
export interface Account {
  readonly name: string;
  readonly namespace: string;
}

/** Where in-cluster clients look for their credentials. */
const apiFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
const apiTokenSeconds = 3600;

/** A ServiceAccount whose pods get no token by themselves; `reason` is the comment that says what they have instead. */
export function renderServiceAccount({ name, namespace }: Account, reason: string): string {
  return `apiVersion: v1
kind: ServiceAccount
metadata:
  name: ${literal(name)}
  namespace: ${literal(namespace)}
# ${reason}
automountServiceAccountToken: false
`;
}

/** A binding with the role's own name: cluster-wide, or in a namespace. */
export function renderBinding(kind: "ClusterRole" | "Role", role: string, account: Account, namespace?: string): string {
  return `apiVersion: rbac.authorization.k8s.io/v1
kind: ${kind}Binding
metadata:
  name: ${literal(role)}
${namespace === undefined ? "" : `  namespace: ${literal(namespace)}\n`}roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ${kind}
  name: ${literal(role)}
subjects:
  - kind: ServiceAccount
    name: ${literal(account.name)}
    namespace: ${literal(account.namespace)}
`;
}

/** A container's arguments. Kubernetes replaces $(NAME) in them; $$ stands for one dollar sign (core/v1 Container, args). */
export function renderArguments(values: readonly string[]): string {
  return items(
    values.map((value) => value.replaceAll("$", "$$$$")),
    12,
  );
}

/** The mount of `apiTokenVolume`. */
export const apiTokenMount = `            - { name: api-token, mountPath: ${apiFolder}, readOnly: true }
`;

/** A token for this cluster's apiservers, with what in-cluster clients find beside it. */
export const apiTokenVolume = `        - name: api-token
          projected:
            sources:
              - serviceAccountToken: { path: token, expirationSeconds: ${apiTokenSeconds} }
              - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
              - downwardAPI: { items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }] }
`;

/** Room for short files in a root file system that is read-only, and its mount. */
export const tmpMount = "            - { name: tmp, mountPath: /tmp }\n";
export const tmpVolume = `        - name: tmp
          emptyDir: { sizeLimit: 16Mi }
`;
