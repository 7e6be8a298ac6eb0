"""How often someone may try to sign in to the admin: per client address and per account.

Principle: guesses at one account are limited however many addresses they come from, but one address must not keep a colleague
out. So an address takes at most a quarter of an account's places. What it tries beyond that counts for the address alone. An
account is then full only while several addresses try it at once. A successful attempt counts for nothing.
"""

import hashlib
import unicodedata
from dataclasses import dataclass, field

from django.conf import settings
from django.http import HttpRequest

from chatapi.cache.rates import meter
from chatapi.environment import Rate
from chatapi.incoming.client_address import address_group
from chatapi.permits.limit import Limit
from chatapi.service_error import ServiceError

# An account has this many times as many places as one address may take of them.
SHARES = 4


class TooManyAttempts(ServiceError):
    code = "throttled"
    status = 429
    detail = "Too many sign-in attempts."


Limit(
    what="staff sign-ins that fail",
    per="client address, and account",
    refusal=TooManyAttempts,
    settings=("THROTTLE_LOGIN",),
)


@dataclass(slots=True)
class Attempt:
    """An attempt to sign in, and the places that it takes."""

    # Until another attempt is possible. 0: this one may go on.
    wait_s: float = 0.0
    _taken: list[tuple[str, Rate]] = field(default_factory=list)

    def take(self, key: str, rate: Rate) -> bool:
        """Take a place. If there is none, the attempt is refused."""
        self.wait_s = meter.count(key, rate).wait_s
        if not self.wait_s:
            self._taken.append((key, rate))
        return not self.wait_s

    def give_back(self) -> None:
        """Give back the places that the attempt took."""
        while self._taken:
            meter.give_place_back(*self._taken.pop())


def count_attempt(request: HttpRequest, *, account: str | None = None) -> Attempt:
    """Count an attempt at an account, by default the one that the form names. A refused one counts for nothing."""
    rate: Rate | None = settings.THROTTLE_LOGIN
    attempt = Attempt()
    if rate is None:
        return attempt
    address = address_group(request)
    account = _account_of(request.POST.get("username", "") if account is None else account)
    share = Rate(max(1, rate.requests // SHARES), rate.period_s)
    whole = Rate(max(rate.requests, share.requests + 1), rate.period_s)
    if not attempt.take(f"throttle:login:ip-{address}", rate):
        return attempt
    if not attempt.take(f"throttle:login:share-{account}-{address}", share):
        attempt.wait_s = 0.0
    elif not attempt.take(f"throttle:login:account-{account}", whole):
        attempt.give_back()
    return attempt


def count_start(request: HttpRequest) -> float:
    """Count a sign-in that begins at the provider. Return 0, or how many seconds to wait before another one can begin."""
    rate: Rate | None = settings.THROTTLE_LOGIN
    return meter.count(_start_key(request), rate).wait_s if rate else 0.0


def give_start_back(request: HttpRequest) -> None:
    """Count a sign-in that has succeeded for nothing."""
    rate: Rate | None = settings.THROTTLE_LOGIN
    if rate:
        meter.give_place_back(_start_key(request), rate)


def _start_key(request: HttpRequest) -> str:
    return f"throttle:login:start-{address_group(request)}"


def _account_of(written: str) -> str:
    """Return the part of a key that is different for each account. Any text can be a name, however long."""
    # As Django's form cleans the name before it looks for the account. Else each spelling would have attempts of its own.
    name = unicodedata.normalize("NFKC", written.replace("\x00", "").strip()).casefold()
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
