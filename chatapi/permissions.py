"""Who may do what, beyond being logged in."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class IsAdmin(BasePermission):
    """Allow users whom the auth service, or ADMIN_EMAILS, calls admins."""

    message = "Only admins may do this."

    def has_permission(self, request: Request, view: object) -> bool:
        return getattr(request.user, "is_admin", False) is True
