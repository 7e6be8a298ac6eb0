"""Secrets and signatures of webhooks, in the form of Standard Webhooks. The settings read the secrets with this module."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from chatapi.environment.problem import EnvironmentProblem

PREFIX = "whsec_"


def check_secrets(name: str, secrets: Sequence[str]) -> Sequence[str]:
    """Return these secrets of the variable `name` if all are the prefix and 24 to 64 bytes in base64."""
    for secret in secrets:
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except ValueError:
            key = b""
        if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
            # The message does not repeat the value, because it is a secret.
            raise EnvironmentProblem(f"{name} must be {PREFIX} and 24 to 64 random bytes in base64")
    return secrets


def signature_headers(event_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> Mapping[str, str]:
    """Return the headers with which a receiver checks who sends, what and when. Each secret signs."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets]
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
