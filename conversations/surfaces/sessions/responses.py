"""Response bodies of the session surface."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from conversations.models import Role
from conversations.surfaces.responses import RowSchema


class MessageSchema(RowSchema):
    id = serializers.UUIDField()
    text = serializers.CharField(allow_blank=True, source="content")
    sender = serializers.ChoiceField(choices=["user", "bot"], source="role")

    class Meta:
        ref_name = "SessionMessage"

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().from_row(row), "sender": "user" if row["role"] == Role.USER else "bot"}


class HistorySchema(serializers.Serializer[Any]):
    messages = MessageSchema(many=True)

    class Meta:
        ref_name = "SessionHistory"


class ForgottenSchema(serializers.Serializer[Any]):
    message = serializers.CharField()

    class Meta:
        ref_name = "SessionForgotten"
