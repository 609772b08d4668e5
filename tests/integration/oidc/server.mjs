// oidc-provider on loopback, with what the tests need: clients of each kind of authentication, refresh tokens that
// rotate, a person who approves device codes at once when asked to, and a count of what happened.
//
//   node server.mjs <oidc-provider's index.js>      the public key of "jwt-client" as a JWK in $CLIENT_JWK
//
// Prints its issuer on one line. Ends when its standard input does.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const { Provider, errors } = await import(pathToFileURL(process.argv[2]));

const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const API = "https://api.example.com/";
const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
const machine = { grant_types: ["client_credentials"], redirect_uris: [], response_types: [] };
const person = { grant_types: [DEVICE, "refresh_token"], redirect_uris: [], response_types: [] };

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "basic client:1",
      client_secret: "s3cr%t:+&=/ ?~",
      token_endpoint_auth_method: "client_secret_basic",
      ...machine,
    },
    {
      client_id: "post-client",
      client_secret: "s3cr%t:+&=/ ?~",
      token_endpoint_auth_method: "client_secret_post",
      ...machine,
    },
    {
      client_id: "jwt-client",
      token_endpoint_auth_method: "private_key_jwt",
      jwks: { keys: [JSON.parse(process.env.CLIENT_JWK)] },
      ...machine,
    },
    {
      client_id: "person-client",
      client_secret: "secret",
      token_endpoint_auth_method: "client_secret_basic",
      ...person,
    },
    { client_id: "public-client", token_endpoint_auth_method: "none", ...person },
  ],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => nonces },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo(ctx, resource) {
        if (resource !== API) throw new errors.InvalidTarget();
        return { scope: "read write", audience: API, accessTokenFormat: "opaque", accessTokenTTL: 600 };
      },
    },
  },
  scopes: ["openid", "offline_access", "read", "write"],
  findAccount: (ctx, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, ClientCredentials: (ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600, DeviceCode: 60, RefreshToken: 86400, Grant: 86400 },
});

let nonces = false;
const seen = { requests: 0, grants: 0, refusals: [], revoked: 0 };
provider.on("grant.success", () => (seen.grants += 1));
provider.on("grant.error", (ctx, error) => seen.refusals.push(`${error.error}: ${error.error_detail ?? ""}`));
provider.on("grant.revoked", () => (seen.revoked += 1));

const SCOPE = "openid offline_access";

async function grantFor(clientId) {
  const grant = new provider.Grant({ accountId: "ana", clientId });
  grant.addOIDCScope(SCOPE);
  return grant.save();
}

const orders = {
  async "/test/refresh-token"({ client_id: clientId }) {
    const client = await provider.Client.find(clientId);
    const token = new provider.RefreshToken({
      accountId: "ana",
      client,
      grantId: await grantFor(clientId),
      gty: "authorization_code",
      iiat: Math.floor(Date.now() / 1000),
      rotations: 0,
      scope: SCOPE,
    });
    return { refresh_token: await token.save(86400) };
  },
  async "/test/approve"({ user_code: userCode }) {
    const code = await provider.DeviceCode.findByUserCode(userCode.replace(/[^a-z0-9]/gi, ""));
    Object.assign(code, { accountId: "ana", grantId: await grantFor(code.clientId), scope: SCOPE, claims: {} });
    await code.save(60);
    return {};
  },
  async "/test/deny"({ user_code: userCode }) {
    const code = await provider.DeviceCode.findByUserCode(userCode.replace(/[^a-z0-9]/gi, ""));
    Object.assign(code, { error: "access_denied", errorDescription: "the person said no" });
    await code.save(60);
    return {};
  },
  async "/test/nonces"({ on }) {
    nonces = on === "true";
    return {};
  },
  async "/test/seen"() {
    return seen;
  },
};

const handle = provider.callback();
server.on("request", async (request, response) => {
  const url = new URL(request.url, issuer);
  const order = orders[url.pathname];
  if (order === undefined) {
    seen.requests += 1;
    handle(request, response);
    return;
  }
  try {
    const answer = await order(Object.fromEntries(url.searchParams));
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(answer));
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error.stack));
  }
});

process.stdin.on("end", () => process.exit(0)).resume();
process.stdout.write(`${issuer}\n`);
