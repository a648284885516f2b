/** Why network tests of Kubernetes are not required. The first row that fits a test is its reason. */
import type { LeftOut } from "./selection.ts";

export const leftOut: readonly LeftOut[] = [
  { pattern: /sctp/i, because: "The kernel of the test machine has no SCTP." },
  { pattern: /Netpol|NetworkPolicy/, because: "Network policies are the network plugin's." },
  { pattern: /\[Feature:LoadBalancer\]/, because: "They need a cloud's load balancers." },
  { pattern: /DNS/, because: "They are about the cluster's DNS server, and need an image that is not built here." },
  { pattern: /Ingress/, because: "Ingress objects are an ingress controller's." },
  { pattern: /Internet connection/, because: "They need the internet." },
  { pattern: /IPerf2/, because: "It measures, and has no outcome." },
  { pattern: /KubeProxyNFAcct|iptables rules/, because: "They are about rules of kube-proxy's iptables mode." },
  { pattern: /kube-proxy migration/, because: "They exchange kube-proxy's static pods for its DaemonSet." },
  {
    pattern: /after restarting kube-proxy/,
    because: "It deletes kube-proxy's own pods; test/cluster/service-proxy/replacement.test.ts does the same to the agent.",
  },
  { pattern: /after restarting apiserver/, because: "It needs apiservers that are pods." },
  { pattern: /proxy logs on node/, because: "It reads /var/log of a node; the test cluster's nodes share the machine's." },
  {
    pattern: /evicted pods/,
    because: "It fills a pod's disk until the kubelet evicts it; the test cluster's kubelets do not watch the disk.",
  },
];
