"""A stand-in for the auth service: `POST /auth/validate`, with real signatures and real expiry."""

import argparse
import os
from dataclasses import asdict

import jwt

from devstack.json_server import JSONHandler, serve
from devstack.tokens import check_token


class AuthHandler(JSONHandler):
    jwt_key = ""

    def do_POST(self) -> None:
        body = self.read_object()
        if self.path != "/auth/validate":
            return self.answer(404, {"detail": "not found"})
        if not self.has_internal_key():
            return self.answer(403, {"detail": "wrong X-Internal-API-Key"})
        if body is None or not isinstance(body.get("token"), str):
            return self.answer(400, {"detail": "a token is required"})
        try:
            user, claims = check_token(self.jwt_key, body["token"])
        except jwt.ExpiredSignatureError:
            return self.answer(401, {"valid": False, "reason": "expired"})
        except jwt.InvalidTokenError:
            return self.answer(401, {"valid": False, "reason": "invalid"})
        return self.answer(200, {"valid": True, "user": {**asdict(user), "id": str(user.id)}, "claims": claims})


def main() -> None:
    """Serve on --port; the keys come from INTERNAL_API_KEY and DEVSTACK_JWT_KEY."""
    parser = argparse.ArgumentParser(prog="python -m devstack.auth_service", description="A stand-in auth service.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    AuthHandler.internal_api_key = os.environ["INTERNAL_API_KEY"]
    AuthHandler.jwt_key = os.environ["DEVSTACK_JWT_KEY"]
    serve(AuthHandler, port)


if __name__ == "__main__":
    main()
