"""Send staff back to the identity provider now and then, so that their groups are read again.

Principle: what the provider said of a person counts for ADMIN_OIDC_RECHECK_MINUTES. Then the next page leads there. A person
who is still signed in there comes back to that page without typing anything, with the groups of now. A person who was taken out
of the groups, or whose session there was ended, gets no further. A form that is sent can't be led there, so it has longer.
"""

import time

from django.conf import settings
from django.http import HttpRequest

from conversations.sign_in.methods import SINGLE_SIGN_ON, method_of

# In the session: when the provider vouched for this person.
VOUCHED_AT = "oidc_vouched_at"
FORMS_LAST_S = 15 * 60


def note_vouched(request: HttpRequest) -> None:
    request.session[VOUCHED_AT] = int(time.time())


def is_recheck_due(request: HttpRequest) -> bool:
    """Whether the request may go on only after another sign-in at the provider."""
    if method_of(request) != SINGLE_SIGN_ON:
        return False
    # A session of the version before does not say when it began.
    age_s: float = time.time() - request.session.get(VOUCHED_AT, 0)
    lasts_s = 60 * settings.ADMIN_OIDC_RECHECK_MINUTES
    return age_s >= (lasts_s if opens_page(request) else lasts_s + FORMS_LAST_S)


def opens_page(request: HttpRequest) -> bool:
    """Whether this opens a page, so that it may be led to the provider and back."""
    return request.method in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
