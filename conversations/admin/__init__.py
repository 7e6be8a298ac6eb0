"""What staff see. One module per subject; importing them registers them."""

from django.contrib import admin

from conversations.admin import access, assistants, conversations, users

__all__ = ["access", "assistants", "conversations", "users"]

admin.site.site_header = "Chat support"
admin.site.site_title = "Chat support"
admin.site.index_title = "What are you looking for?"
# The pages that count stand in the header; lists need the room.
admin.site.enable_nav_sidebar = False
admin.site.site_url = None
