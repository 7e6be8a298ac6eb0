"""Receive webhooks: `WEBHOOK_SECRET=whsec_… python webhooks.py`, at port 8080 behind something that speaks TLS."""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict:
    """Return the event of a request. Raises `ValueError` if it does not come from the service, or is old.

    The service repeats an event whose answer it did not get: keep the ids of those that you have handled.
    """
    event_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        raise ValueError("too old")
    signed = f"{event_id}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # While the secret changes, there are several signatures.
    if not any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split()):
        raise ValueError("wrong signature")
    return {"id": event_id, **json.loads(body)}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = verify(os.environ["WEBHOOK_SECRET"], self.headers, body)
        except (KeyError, TypeError, ValueError):
            self.send_error(401)
            return
        # Store the event, and answer before you work on it: the service waits 15 s.
        print(event["id"], event["type"], event["data"], flush=True)
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver).serve_forever()
