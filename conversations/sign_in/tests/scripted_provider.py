"""A provider behind `responses` that signs what a test wants."""

import json
import time
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import requests
import responses
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://id.example.com"
CLIENT_ID = "chat-admin"
START, CALLBACK = "/admin/oidc/start/", "/admin/oidc/callback/"
GROUPS = {"chat-support": "support", "chat-leads": "leads", "chat-audit": "auditors", "chat-admins": "superusers"}


@lru_cache
def make_key(name: str) -> rsa.RSAPrivateKey:
    """Return the same key for the same name. Making one takes its time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key(name: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(make_key(name).public_key(), as_dict=True), "kid": name, "use": "sig"}


class Provider:
    """What it answers is in its attributes. A test changes them before somebody comes back."""

    def __init__(self, outbound: responses.RequestsMock) -> None:
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/me",
            "end_session_endpoint": f"{ISSUER}/end",
        }
        self.keys = [public_key("first")]
        self.signing_key = "first"
        # Whether its tokens say which key signed them.
        self.names_key = True
        # Claims that replace those of the ID token. None leaves one out.
        self.claims: dict[str, Any] = {"groups": ["chat-support"]}
        self.user_info: dict[str, Any] = {}
        self.token_status = 200
        self.id_token: str | None = None
        self.asked: list[requests.PreparedRequest] = []
        self.nonce = ""
        outbound.add_callback(responses.GET, f"{ISSUER}/.well-known/openid-configuration", self._say(lambda: self.metadata))
        outbound.add_callback(responses.GET, f"{ISSUER}/keys", self._say(lambda: {"keys": self.keys}))
        outbound.add_callback(responses.GET, f"{ISSUER}/me", self._say(lambda: self.user_info))
        outbound.add_callback(responses.POST, f"{ISSUER}/token", self._exchange)

    def paths(self) -> list[str]:
        """Return which of its addresses were asked."""
        return [urlsplit(request.url or "").path for request in self.asked]

    def begin(self, client: Client, **headers: Any) -> dict[str, str]:
        """Begin a sign-in. Return what the browser takes to the provider."""
        answer = client.get(START, **headers)
        assert answer.status_code == 302, answer.content
        taken = dict(parse_qsl(urlsplit(answer["Location"]).query))
        self.nonce = taken["nonce"]
        return taken

    def come_back(self, client: Client, **headers: Any) -> Any:
        """Begin and finish a sign-in."""
        taken = self.begin(client, **headers)
        return client.get(CALLBACK, {"code": "a-code", "state": taken["state"]}, **headers)

    def make_token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": CLIENT_ID,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            **self.claims,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        headers = {"kid": self.signing_key} if self.names_key else None
        return jwt.encode(told, make_key(self.signing_key), algorithm="RS256", headers=headers)

    def sent_form(self) -> dict[str, str]:
        body = next(request.body for request in self.asked if request.method == "POST")
        return {name: values[0] for name, values in parse_qs(body if isinstance(body, str) else body.decode()).items()}

    def _say(self, answer: Any) -> Any:
        def say(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            self.asked.append(request)
            return 200, {}, json.dumps(answer())

        return say

    def _exchange(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        self.asked.append(request)
        token = self.make_token() if self.id_token is None else self.id_token
        return self.token_status, {}, json.dumps({"access_token": "an-access-token", "id_token": token, "token_type": "Bearer"})
