"""Django's PostgreSQL backend, which also reads the times that Python does not know."""

from typing import Any

from django.db.backends.postgresql import base

from chatapi.timestamps import with_all_timestamps


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        return {**parameters, "context": with_all_timestamps(parameters["context"])}
