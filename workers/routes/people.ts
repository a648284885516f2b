/** What admins see and end of what people hold: kubeconfigs that were given out, and everything of one person. */
import { Hono } from "hono";
import type { MiddlewareHandler } from "hono";
import { GatewayError } from "#core/errors.ts";
import { field, finish, readObject, readText } from "#core/document.ts";
import type { Gateway } from "#workers/gateway.ts";
import { tokenIssuerOf } from "#workers/issuer/issued-token.ts";
import type { OwnedToken } from "#workers/issuer/issued-token.ts";
import type { Person } from "#workers/session/sign-in.ts";
import { endNamedSession, listSessions } from "#workers/session/stub.ts";
import { readJson } from "./json-body.ts";
import { unkept } from "./failure.ts";

/** Largest document: two texts. */
const maxBytes = 16 << 10;

const adminsOnly: MiddlewareHandler<{ readonly Bindings: { gateway: Gateway } }> = async (context, next) => {
  await context.env.gateway.admins.admit(context.req.raw.headers);
  await next();
};

export const peopleRoutes = new Hono<{ readonly Bindings: { gateway: Gateway } }>()
  .use(unkept)
  .use("/kubeconfigs/*", adminsOnly)
  .use("/people/*", adminsOnly)
  .get("/kubeconfigs", async (context) => {
    const tokens = await tokenIssuerOf(context.env.gateway.env).listAll();
    return context.json({ kubeconfigs: tokens.map(toDocument) });
  })
  .delete("/kubeconfigs/:id", async (context) => {
    const { gateway } = context.env;
    const id = context.req.param("id");
    const owner = await tokenIssuerOf(gateway.env).ownerOf(id);
    if (owner === undefined || !(await revoke(gateway, id, owner))) throw new GatewayError("NOT_FOUND", "no live kubeconfig has this id");
    return context.body(null, 204);
  })
  .post("/people/end", async (context) => {
    const { gateway } = context.env;
    const person = readPerson(await readJson(context.req.raw, maxBytes));
    return context.json({ kubeconfigs: await endKubeconfigs(gateway, person), sessions: await endSessions(gateway, person) });
  });

async function endKubeconfigs(gateway: Gateway, person: Person): Promise<number> {
  const tokens = await tokenIssuerOf(gateway.env).list([person]);
  const ended = await Promise.all(tokens.map(({ id }) => revoke(gateway, id, person)));
  return ended.filter(Boolean).length;
}

async function endSessions(gateway: Gateway, person: Person): Promise<number> {
  const sessions = await listSessions(gateway.env, [person]);
  const ended = await Promise.all(sessions.map(({ name }) => endNamedSession(gateway.env, name, [person])));
  return ended.filter(Boolean).length;
}

async function revoke(gateway: Gateway, id: string, owner: Person): Promise<boolean> {
  const cluster = await tokenIssuerOf(gateway.env).revoke(id, [owner]);
  if (cluster === undefined) return false;
  gateway.revocations.forget(cluster);
  console.log(JSON.stringify({ event: "kubeconfig-revoked", id, cluster }));
  return true;
}

function readPerson(input: unknown): Person {
  const parsed = finish((problems) => {
    const document = readObject(input, "", problems);
    return {
      issuer: readText(field(document, "issuer"), "issuer", problems),
      subject: readText(field(document, "subject"), "subject", problems),
    };
  });
  if (parsed.type === "invalid") throw new GatewayError("REQUEST_INVALID", parsed.problems.join("; "));
  return parsed.value;
}

function toDocument({ id, cluster, username, owner, issuedAtMs, expiresAtMs }: OwnedToken): Readonly<Record<string, string>> {
  const [issuedAt, expiresAt] = [new Date(issuedAtMs).toISOString(), new Date(expiresAtMs).toISOString()];
  return { id, cluster, username, issuer: owner.issuer, subject: owner.subject, issuedAt, expiresAt };
}
