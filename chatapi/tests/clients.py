"""A user at the API: Django's test client with a token, speaking JSON."""

import uuid
from typing import Any

from django.test import Client

JSON = "application/json"


class UserClient(Client):
    """Every request carries the user's token through the real authentication; bodies are JSON."""

    def __init__(self, token: str, user_id: uuid.UUID | None = None) -> None:
        super().__init__(headers={"Authorization": f"Bearer {token}"} if token else None)
        self.token = token
        self.user_id = user_id

    def post(self, path: str, data: Any = None, content_type: str = JSON, **more: Any) -> Any:
        return super().post(path, "" if data is None else data, content_type, **more)

    def put(self, path: str, data: Any = "", content_type: str = JSON, **more: Any) -> Any:
        return super().put(path, data, content_type, **more)

    def patch(self, path: str, data: Any = "", content_type: str = JSON, **more: Any) -> Any:
        return super().patch(path, data, content_type, **more)
