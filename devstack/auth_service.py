"""A stand-in auth service that checks real JWTs: `python -m devstack.auth_service --port 8001`."""

import argparse
import os
from dataclasses import asdict
from http import HTTPStatus

from devstack.folder import devstack_folder, keys_in
from devstack.json_service import JsonHandler, JsonServer, read_object
from devstack.token import TokenIssuer, TokenRefused


class AuthServer(JsonServer):
    def __init__(self, port: int, *, signing_key: str, internal_api_key: str, host: str = "127.0.0.1") -> None:
        super().__init__(port, AuthHandler, internal_api_key=internal_api_key, host=host)
        self.issuer = TokenIssuer(signing_key)


class AuthHandler(JsonHandler):
    """`POST /auth/validate` `{"token"}` → 200 `{"valid": true, "user", "claims"}` or 401 `{"valid": false, "reason"}`."""

    server: AuthServer

    def answer(self, method: str, path: str, body: bytes) -> None:
        if path != "/auth/validate":
            self.send_not_found()
            return
        if method != "POST":
            self.send_json(HTTPStatus.METHOD_NOT_ALLOWED, {"detail": "Method Not Allowed"})
            return
        token = (read_object(body) or {}).get("token")
        if not isinstance(token, str):
            self.send_json(HTTPStatus.BAD_REQUEST, {"detail": 'The body must be a JSON object {"token": "…"}.'})
            return
        try:
            user, claims = self.server.issuer.check(token)
        except TokenRefused as refusal:
            self.send_json(HTTPStatus.UNAUTHORIZED, {"valid": False, "reason": str(refusal)})
        else:
            self.send_json(HTTPStatus.OK, {"valid": True, "user": asdict(user), "claims": claims})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack.auth_service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8001, help="default: 8001")
    arguments = parser.parse_args()
    keys = keys_in(devstack_folder())
    key = os.environ.get("INTERNAL_API_KEY") or keys.internal_api_key
    server = AuthServer(arguments.port, signing_key=keys.token_signing_key, internal_api_key=key, host=arguments.host)
    server.serve_forever()


if __name__ == "__main__":
    main()
