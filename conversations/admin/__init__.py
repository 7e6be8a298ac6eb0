"""What staff see. One module per subject; importing them registers them."""

from conversations.admin import assistants, conversations, users

__all__ = ["assistants", "conversations", "users"]
