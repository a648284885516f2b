/** The home page: the clusters that this person may reach, and the lines that open each with kubectl. */
import { markup } from "./html.ts";
import type { Html } from "./html.ts";
import { tokenField } from "./page.ts";
import type { Page, SignedIn } from "./page.ts";
import { clusterNameForm } from "./sign-in-page.ts";

/** A cluster whose door has let the person in. */
export interface ReachableCluster {
  readonly name: string;
  readonly url: string;
  /** Who the person is there, as RBAC sees it. */
  readonly username: string;
  readonly groups: readonly string[];
  /** Agent replicas that are connected now. */
  readonly agents: number;
  /** Whether it takes tokens of the gateway, so that a kubeconfig can be downloaded. */
  readonly takesGatewayTokens: boolean;
}

export interface Home {
  readonly gatewayUrl: string;
  readonly clusters: readonly ReachableCluster[];
  /** Token of the form that signs in to another cluster; its cookie is the start's. */
  readonly startToken: string;
  readonly signedIn: SignedIn;
  readonly cookies: readonly string[];
}

export function homePage(home: Home): Page {
  const { clusters } = home;
  const count = clusters.length === 1 ? "You may reach one cluster." : `You may reach ${clusters.length} clusters.`;
  const body = markup`<h1>Clusters</h1>
    <p class="lead">
      ${clusters.length === 0 ? "No cluster here takes your sign-in." : `${count} What you may do there is up to RBAC.`}
    </p>
    ${clusters.length === 0 ? nothing() : clusters.map((cluster) => clusterCard(cluster, home))}
    <section class="card" aria-labelledby="other">
      <div class="title"><h2 id="other">Another cluster</h2></div>
      <p class="soft">Each cluster has a sign-in of its own. One that is not listed opens by its name, if you may use it.</p>
      ${clusterNameForm(home.startToken, "/")}
    </section>`;
  return { title: "Clusters", body, signedIn: home.signedIn, cookies: home.cookies };
}

function nothing(): Html {
  return markup`<div class="card">
    <p>
      You are signed in, but none of the clusters that share this sign-in accepts you. Either they want a sign-in of their own (try the
      cluster's name below), or their AuthenticationConfiguration leaves you out: then ask the cluster's admin.
    </p>
  </div>`;
}

function clusterCard(cluster: ReachableCluster, { gatewayUrl, signedIn }: Home): Html {
  const { name, username, groups, agents } = cluster;
  const state = agents > 0 ? markup`<span class="state on">connected</span>` : markup`<span class="state">no agent is connected</span>`;
  return markup`<article class="card" aria-labelledby="cluster-${name}">
    <div class="title">
      <h2 id="cluster-${name}">${name}</h2>
      ${state}
    </div>
    <pre tabindex="0" aria-label="Commands for ${name}"><code>sallyport login ${gatewayUrl} --cluster ${name}
sallyport kubeconfig --gateway ${gatewayUrl} --cluster ${name}
kubectl --context ${name} get pods</code></pre>
    ${cluster.takesGatewayTokens ? downloadForm(name, signedIn.formToken) : noDownload()}
    <details>
      <summary>Who you are there</summary>
      <dl>
        <dt>User</dt>
        <dd>${username}</dd>
        <dt>Groups</dt>
        <dd>${groups.length === 0 ? "none" : groups.join(", ")}</dd>
        <dt>API</dt>
        <dd>${cluster.url}</dd>
      </dl>
    </details>
  </article>`;
}

function downloadForm(name: string, formToken: string): Html {
  return markup`<form method="post" action="/kubeconfigs" class="row">
    ${tokenField(formToken)}<input type="hidden" name="cluster" value="${name}" />
    <button class="plain">Download kubeconfig</button>
    <span class="soft">For kubectl alone, nothing to install. It works for 8 hours, and for whoever has it.</span>
  </form>`;
}

function noDownload(): Html {
  return markup`<p class="soft">No kubeconfig to download: this cluster's AuthenticationConfiguration does not name the gateway as an issuer.</p>`;
}
