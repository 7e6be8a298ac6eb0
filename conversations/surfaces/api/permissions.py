"""Permissions beyond a valid token."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class IsAdmin(BasePermission):
    """Allow users who are admins for the auth service or in ADMIN_EMAILS."""

    message = "This action requires an admin."

    def has_permission(self, request: Request, view: object) -> bool:
        return getattr(request.user, "is_admin", False) is True
