"""The directory of users, as the auth service described them."""

from django.contrib import admin
from django.http import HttpRequest

from conversations.admin.paging import CappedPaginator
from conversations.models import ChatUser


@admin.register(ChatUser)
class ChatUserAdmin(admin.ModelAdmin):
    list_display = ("email", "name", "id", "is_admin", "last_seen_at")
    search_fields = ("email__istartswith", "name__istartswith", "id__exact")
    show_full_result_count = False
    paginator = CappedPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ChatUser | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ChatUser | None = None) -> bool:
        return False
