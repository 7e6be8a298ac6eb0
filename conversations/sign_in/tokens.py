"""Check an ID token: that this provider signed it, now, for this service and for this very sign-in."""

from typing import Any

import jwt
from django.conf import settings
from django.utils.crypto import constant_time_compare

from conversations.sign_in.provider import Budget, Metadata, read_keys
from conversations.sign_in.refusals import TokenRefused

# Signatures with a public key. "none" and those with a shared secret are left out.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# What the clocks of the provider and of this machine may differ.
CLOCK_SKEW_S = 60
REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
MOST_SUBJECT_CHARACTERS = 255
# A provider that needs more sends something else.
MOST_TOKEN_CHARACTERS = 64 * 1024


def verify_id_token(token: Any, *, nonce: str, metadata: Metadata, budget: Budget) -> dict[str, Any]:
    """Return the claims of an ID token. Raises `TokenRefused` with the reason as its code."""
    if not isinstance(token, str) or not 0 < len(token) <= MOST_TOKEN_CHARACTERS:
        raise TokenRefused("no_token")
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise TokenRefused("algorithm")
        key = _find_key(header.get("kid"), algorithm, metadata, budget)
        claims: dict[str, Any] = jwt.decode(
            token,
            key=key,
            algorithms=[algorithm],
            audience=settings.ADMIN_OIDC_CLIENT_ID,
            issuer=metadata.issuer,
            leeway=CLOCK_SKEW_S,
            options={"require": REQUIRED},
        )
    except jwt.PyJWTError as failure:
        # The class says what is wrong. Its text may contain parts of the token.
        raise TokenRefused(type(failure).__name__) from None
    if not constant_time_compare(str(claims.get("nonce", "")), nonce):
        raise TokenRefused("nonce")
    # A token for several audiences must name the one that asked for it.
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != settings.ADMIN_OIDC_CLIENT_ID:
        raise TokenRefused("authorized_party")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= MOST_SUBJECT_CHARACTERS:
        raise TokenRefused("subject")
    return claims


def _find_key(key_id: Any, algorithm: str, metadata: Metadata, budget: Budget) -> Any:
    """Return the provider's key of this id. A token without an id is accepted if only one key can be meant."""
    known = read_keys(metadata, budget, must_know=key_id if isinstance(key_id, str) else None)
    fitting = [
        key
        for key in known
        if (key_id is None or key.get("kid") == key_id)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and key.get("kty") != "oct"
    ]
    usable = [key for key in (_read_key(one, algorithm) for one in fitting) if key is not None]
    if len(usable) != 1:
        raise TokenRefused("unknown_key")
    return usable[0]


def _read_key(key: dict[str, Any], algorithm: str) -> Any:
    """Return a key of this algorithm's kind, or None."""
    try:
        return jwt.PyJWK(key, algorithm=algorithm).key
    except jwt.PyJWTError:
        return None
