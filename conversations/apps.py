from django.apps import AppConfig


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        # Registers the OpenAPI description of our authentication.
        from chatapi import openapi  # noqa: F401
