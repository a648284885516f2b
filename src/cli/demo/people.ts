/** Who works at the demo's company, and where their rights come from: groups in their tokens, bound by RBAC in the cluster. */

export interface DemoPerson {
  readonly name: string;
  readonly groups: readonly string[];
  /** In words, for the tour. */
  readonly role: string;
}

export const dana: DemoPerson = { name: "dana", groups: ["admins"], role: "admin" };
export const lee: DemoPerson = { name: "lee", groups: ["developers"], role: "developer: namespace web only" };

export const demoPeople: readonly DemoPerson[] = [dana, lee];

/** What the demo's AuthenticationConfiguration puts before users and groups. */
export const demoPrefix = "demo:";
