"""The text that replies without text have for the predecessor.

Its inference service refuses a history with an empty message, so one reply of ours without text would end a conversation there.
When the predecessor writes to a conversation, triggers of migration 0029 put this text into such rows. Outputs of tools without
a visible character are stored as this text. Here all of them still have no text: all readers of the column `content` read this
text as "".
"""

from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When

from conversations.visible_text import is_blank

# With an invisible character (U+2060), because a model may really answer with an ellipsis.
NO_TEXT = "…\u2060"

# The column without the placeholder. PostgreSQL compares the lengths first, so this does not read a long text.
TEXT_SQL = f"CASE WHEN content = '{NO_TEXT}' THEN '' ELSE content END"
TEXT = Case(When(content=NO_TEXT, then=Value("")), default=F("content"), output_field=models.TextField())
WITHOUT_TEXT = Q(content__in=("", NO_TEXT))
WITHOUT_TEXT_SQL = f"content IN ('', '{NO_TEXT}')"


def output_text(output: str) -> str:
    """Return what the column `content` holds of a tool's output, or of an answer with calls: both may be empty."""
    return NO_TEXT if is_blank(output) else output


class MessageTextField(models.TextField):
    """A text column that reads the placeholder as no text."""

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        # In SQL, because a field that converts values in Python could not be read by `prepared_statements`.
        return f"CASE WHEN {sql} = '{NO_TEXT}' THEN '' ELSE {sql} END", (*params, *params)

    def deconstruct(self) -> Any:
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.TextField", arguments, options
