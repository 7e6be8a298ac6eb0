"""How a session of staff began."""

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpRequest

# By its name: the module loads cryptography, which only those need who have set up single sign-on.
SINGLE_SIGN_ON_BACKEND = "conversations.sign_in.single_sign_on.SingleSignOnBackend"
SINGLE_SIGN_ON, PASSWORD = "single sign-on", "password"


def is_single_sign_on_set_up() -> bool:
    """Whether staff may sign in through a provider."""
    return bool(settings.ADMIN_OIDC_ISSUER)


def method_of(request: HttpRequest) -> str:
    is_from_provider = request.session.get(BACKEND_SESSION_KEY) == SINGLE_SIGN_ON_BACKEND
    return SINGLE_SIGN_ON if is_from_provider else PASSWORD
