/** Asymmetric JWS algorithms that kube-apiserver accepts (RFC 7518 section 3.1). */
export type SignatureAlgorithm = "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" | "ES256" | "ES384" | "ES512";
