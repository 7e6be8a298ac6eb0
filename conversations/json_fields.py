"""A column of JSON that is read as text."""

from typing import Any

from django.db import models


class JSONTextField(models.JSONField):
    """JSON that is written as an object and read as the text that PostgreSQL has: few readers need it parsed.

    Fields that convert values in Python can't be read by `prepared_statements`.
    """

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        # As text, so that rows with it can come in PostgreSQL's binary form (see `chatapi.database.round_trips`).
        return f"{sql}::text", params

    def get_db_converters(self, connection: Any) -> list[Any]:
        return []

    def deconstruct(self) -> Any:
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.JSONField", arguments, options
