"""The session surface: /api/v1/chat, conversations that the caller names, also without a user."""
