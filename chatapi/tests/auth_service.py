"""The auth service as `requests` sees it: tokens that a test has issued, and what was asked."""

import json
import time
import uuid
from typing import Any

import requests
import responses
from django.conf import settings

LIFETIME_S = 3600


class AuthService:
    """A scripted auth service behind `responses`; a test admits users and makes it fail."""

    def __init__(self, outbound: responses.RequestsMock) -> None:
        self.asked: list[requests.PreparedRequest] = []
        self._answers: dict[str, dict[str, Any]] = {}
        outbound.add_callback(responses.POST, f"{settings.AUTH_SERVICE_URL}/auth/validate", self._validate)

    def admit(self, **about: Any) -> tuple[str, uuid.UUID]:
        """Issue a token for a new user; `about` goes into what the service says of them."""
        user_id = uuid.uuid4()
        token = f"token-{user_id}"
        user = {"id": str(user_id), "email": f"{user_id}@example.test", "name": "A User", **about}
        claims = {"sub": str(user_id), "exp": int(time.time()) + LIFETIME_S}
        self._answers[token] = {"valid": True, "user": user, "claims": claims}
        return token, user_id

    def _validate(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        self.asked.append(request)
        answer = self._answers.get(json.loads(request.body or "{}")["token"])
        if answer is None:
            return 401, {}, '{"valid": false, "reason": "unknown token"}'
        return 200, {}, json.dumps(answer)
