// An OpenID Connect provider with a few people. Arguments: where it may send people back to, and whether the ID token has all claims.
// It prints its port. Anyone can sign in as one of the people with any password.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [redirects, allClaims] = JSON.parse(process.argv[2]);
const PEOPLE = {
  ada: { email: "ada@example.com", email_verified: true, name: "Ada Lovelace", preferred_username: "ada", groups: ["chat-support", "cooks"] },
  lea: { email: "lea@example.com", email_verified: true, name: "Lea Lead", preferred_username: "lea", groups: ["chat-leads", "chat-audit"] },
  mal: { email: "sue@example.com", email_verified: false, name: "Mal", preferred_username: "sue", groups: ["chat-support"] },
  bo: { email: "bo@example.com", email_verified: true, name: "Bo", preferred_username: "bo", groups: ["cooks"] },
};

const server = createServer((request, response) => handle(request, response));
let handle;
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      {
        client_id: "chat-admin",
        client_secret: "only-for-tests: of the client", // pragma: allowlist secret
        redirect_uris: redirects.map((base) => `${base}/admin/oidc/callback/`),
        post_logout_redirect_uris: redirects.map((base) => `${base}/admin/login/`),
        response_types: ["code"],
        grant_types: ["authorization_code"],
      },
    ],
    findAccount: (context, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username", "groups"] },
    conformIdTokenClaims: !allClaims,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    cookies: { keys: ["only-for-tests"] },
  });
  handle = provider.callback();
  console.log(port);
});
