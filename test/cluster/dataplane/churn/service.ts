/** The Service that always has an endpoint while everything about it changes. */
export const churnedService = { clusterIp: "10.96.0.10", nodePort: 30_080, loadBalancerIp: "198.51.100.1" } as const;
