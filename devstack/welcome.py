"""What `make run` prints when all parts are ready."""

from dataclasses import dataclass
from pathlib import Path

STAFF_LOGIN = "admin"
STAFF_PASSWORD = "admin"  # only for the dev stack, which listens on 127.0.0.1 by default


@dataclass(frozen=True, slots=True)
class Welcome:
    url: str
    token: str | None  # None with the user's own auth service
    has_staff_user: bool
    model: str
    log: Path
    python: str

    def text(self) -> str:
        token = self.token or "<a token of your auth service>"
        staff = (
            f"login {STAFF_LOGIN}, password {STAFF_PASSWORD}" if self.has_staff_user else "with a staff user of your database"
        )
        # The page removes the token from the address. `localhost` counts as secure for browsers, so that copying works.
        page = f"{self.url.replace('127.0.0.1', 'localhost')}/" + (f"#token={self.token}" if self.token else "")
        return f"""
Ready. Try it in a browser, already logged in:

{page}

Or paste this to create a conversation and stream a reply from {self.model}:

TOKEN='{token}'
ID=$(curl -s {self.url}/api/conversations -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{}}' | sed 's/.*"id": *"\\([^"]*\\)".*/\\1/')
curl -N {self.url}/api/conversations/$ID/messages -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{"content": "Tell me a story about a samosa."}}'

  API docs      {self.url}/api/docs
  Admin         {self.url}/admin/  ({staff})
  Admin token   {self.python} -m devstack.token --admin   (other users: --user UUID)
  Service log   {self.log}  (warnings appear here; `make run ARGS=--logs` shows every line)

Ctrl-C stops everything and keeps the data."""
