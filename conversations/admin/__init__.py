"""The admin's pages, one module per subject. Importing a module registers its pages."""

from django.contrib import admin

from conversations.admin import access, assistants, conversations, holds, quotas, retention, users, webhooks

__all__ = ["access", "assistants", "conversations", "holds", "quotas", "retention", "users", "webhooks"]

admin.site.site_header = "Chat support"
admin.site.site_title = "Chat support"
admin.site.index_title = "Find conversations and users"
# The header links to the main pages. Lists need the width.
admin.site.enable_nav_sidebar = False
admin.site.site_url = None
