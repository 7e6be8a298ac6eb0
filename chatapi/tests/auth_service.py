"""The scripted auth service behind `responses`, for tests that run no servers."""

import json
import uuid
from typing import Any

import requests
import responses
from django.conf import settings

from tests.support.auth import answer_for, make_token


class AuthService:
    """Answers for tokens as `tests.support.auth` does, with what a test says of their users."""

    def __init__(self, outbound: responses.RequestsMock) -> None:
        self.asked: list[requests.PreparedRequest] = []
        self._about: dict[str, dict[str, Any]] = {}
        outbound.add_callback(responses.POST, f"{settings.AUTH_SERVICE_URL}/auth/validate", self._validate)

    def admit(self, **about: Any) -> tuple[str, uuid.UUID]:
        """Issue a token for a new user. `about` goes into what the service says of the user."""
        user_id = uuid.uuid4()
        token = make_token(user_id)
        self._about[token] = about
        return token, user_id

    def _validate(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        self.asked.append(request)
        token = json.loads(request.body or "{}")["token"]
        status, answer = answer_for(token)
        if status == 200:
            answer["user"] |= self._about.get(token, {})
        return status, {}, json.dumps(answer)
