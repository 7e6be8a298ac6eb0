"""A second factor for staff who sign in with a password: codes of an app (TOTP) and recovery codes, kept by django-otp.

Principle: a session that began with a password may do nothing but give its second factor, if the account has one or the site
requires one. People who sign in through the identity provider give theirs there.

django-otp doubles the pause after each wrong code. Recovery codes are stored as hashes, and each works once.
"""

import re
import secrets
from base64 import b32encode
from enum import Enum
from hashlib import sha256
from typing import Any

import django_otp
import segno
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from conversations.sign_in.methods import PASSWORD, method_of

RECOVERY_CODES = 10
# 80 bits: a code can't be found from its hash.
RECOVERY_CHARACTERS = 16
APP_CODE = re.compile(r"[0-9]{6}")
# In the META of a request.
KEPT = "conversations.second_factor"


class State(Enum):
    """What a session still needs."""

    NOTHING = "nothing"
    CODE = "code"
    ENROLMENT = "enrolment"


def state_of(request: HttpRequest) -> State:
    """Return what the signed-in member of staff must still do. One query for each request, or none."""
    kept: State | None = request.META.get(KEPT)
    if kept is None:
        kept = request.META[KEPT] = _state_of(request)
    return kept


def _state_of(request: HttpRequest) -> State:
    if settings.ADMIN_SECOND_FACTOR == "off" or method_of(request) != PASSWORD:
        return State.NOTHING
    device = find_device(request.user)
    if device is None:
        return State.ENROLMENT if settings.ADMIN_SECOND_FACTOR == "required" else State.NOTHING
    is_given = request.session.get(DEVICE_ID_SESSION_KEY) == device.persistent_id
    return State.NOTHING if is_given else State.CODE


def find_device(user: Any) -> Any:
    """Return the app that a user has enrolled, or None."""
    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).order_by("pk").first()


def begin_enrolment(user: Any) -> Any:
    """Return a new app device, which counts only once a code of it was given."""
    TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).delete()
    return TOTPDevice.objects.create(user_id=user.pk, name="app", confirmed=False)


def find_unconfirmed(user: Any) -> Any:
    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).order_by("-pk").first()


def confirm_enrolment(request: HttpRequest, device: Any, code: str) -> list[str] | None:
    """Enrol the app if the code is right: it replaces an earlier one. Return new recovery codes, or None."""
    if not APP_CODE.fullmatch(code) or django_otp.verify_token(request.user, device.persistent_id, code) is None:
        return None
    with transaction.atomic():
        TOTPDevice.objects.filter(user_id=request.user.pk).exclude(pk=device.pk).delete()
        TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
        codes = make_recovery_codes(request.user)
    _remember(request, device)
    return codes


def make_recovery_codes(user: Any) -> list[str]:
    """Replace a user's recovery codes, and return them. They can't be read again."""
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user_id=user.pk).delete()
        holder = StaticDevice.objects.create(user_id=user.pk, name="recovery codes")
        StaticToken.objects.bulk_create(StaticToken(device=holder, token=_hash(code)) for code in codes)
    return codes


def count_recovery_codes(user: Any) -> int:
    return int(StaticToken.objects.filter(device__user_id=user.pk).count())


def give_code(request: HttpRequest, written: str) -> str:
    """Try a code of the app, or a recovery code. Return which it was, or "" if it is wrong or comes too early."""
    code = re.sub(r"[\s-]", "", written).lower()
    app = find_device(request.user)
    if app is None:
        return ""
    if APP_CODE.fullmatch(code):
        if django_otp.verify_token(request.user, app.persistent_id, code) is None:
            return ""
        kind = "code of the app"
    else:
        holder = StaticDevice.objects.filter(user_id=request.user.pk).first()
        if holder is None or django_otp.verify_token(request.user, holder.persistent_id, _hash(code)) is None:
            return ""
        kind = "recovery code"
    _remember(request, app)
    return kind


def remove(user: Any) -> bool:
    """Forget a user's second factor. Return whether there was one."""
    removed, _ = TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).delete()
    TOTPDevice.objects.filter(user_id=user.pk).delete()
    StaticDevice.objects.filter(user_id=user.pk).delete()
    return bool(removed)


def draw_code(device: Any) -> str:
    """Return the picture that an app reads, as SVG without styles: the Content-Security-Policy allows none."""
    drawn = segno.make(device.config_url, error="m", micro=False)
    return str(drawn.svg_inline(scale=5, border=4, dark="#000", light="#fff", title="QR code for an authenticator app"))


def readable_key(device: Any) -> str:
    """Return the key for those who type it, in groups of four."""
    key = b32encode(device.bin_key).decode()
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))


def _remember(request: HttpRequest, device: Any) -> None:
    django_otp.login(request, device)
    # The session is worth more from now on, so an earlier key of it must not be.
    request.session.cycle_key()
    request.META[KEPT] = State.NOTHING


def _new_code() -> str:
    code = b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(code[start : start + 4] for start in range(0, RECOVERY_CHARACTERS, 4))


def _hash(code: str) -> str:
    """Return what is stored of a recovery code, in the 16 characters that django-otp has for it."""
    return b32encode(sha256(code.replace("-", "").encode()).digest()).decode().lower()[:16]
