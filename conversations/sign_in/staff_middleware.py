"""Django's middleware for sessions, skipped by requests to the API, which has none: only staff sign in.

The classes derive from Django's, because the admin's system checks look for those in the settings.
"""

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class _OnlyForStaff(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        proceed = super().__call__ if request.path_info.startswith(settings.ADMIN_PATH) else self.get_response
        return proceed(request)  # type: ignore[return-value]


class SessionMiddleware(_OnlyForStaff, sessions.SessionMiddleware):
    pass


class AuthenticationMiddleware(_OnlyForStaff, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(_OnlyForStaff, messages.MessageMiddleware):
    pass
