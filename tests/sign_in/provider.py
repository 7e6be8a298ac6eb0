"""A real OpenID Connect provider (npm `oidc-provider`, certified by the OpenID Foundation), as a process of its own."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.clients.node import why_node_is_missing

FOLDER = Path(__file__).parent
CLIENT_ID, CLIENT_SECRET = "chat-admin", "only-for-tests: of the client"
LIMIT_S = 30
FORM_ACTION = re.compile(r'action="([^"]+)"')
PROMPT = re.compile(r'name="prompt" value="(\w+)"')


def why_missing() -> str | None:
    """Return why the provider can't run here, or None if it can."""
    if reason := why_node_is_missing():
        return reason
    if not (FOLDER / "node_modules").is_dir():
        return "the Node packages are not installed (npm ci --prefix tests/sign_in)"
    return None


@contextmanager
def running_provider(*redirects: str, all_claims: bool = False) -> Iterator[str]:
    """Run a provider that sends people back to these bases. Yields its issuer."""
    command = ["node", "provider.mjs", json.dumps([redirects, all_claims])]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout
        # It also prints warnings that it is no production setup.
        port = next(line for line in process.stdout if line.strip().isdigit()).decode().strip()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def sign_in_there(address: str, who: str) -> str:
    """Sign somebody in at the provider, as a browser would. Return the address that it sends the browser back to."""
    with requests.Session() as browser:
        browser.trust_env = False
        origin = "/".join(address.split("/")[:3])
        answer = browser.get(address, allow_redirects=False, timeout=LIMIT_S)
        while True:
            if answer.is_redirect:
                address = requests.compat.urljoin(address, answer.headers["Location"])
                if not address.startswith(f"{origin}/"):
                    return address
                answer = browser.get(address, allow_redirects=False, timeout=LIMIT_S)
                continue
            assert answer.status_code == 200, answer.text
            action, prompt = FORM_ACTION.search(answer.text), PROMPT.search(answer.text)
            assert action and prompt, answer.text
            address = requests.compat.urljoin(address, action[1])
            form = {"prompt": prompt[1], "login": who, "password": "any"}
            answer = browser.post(address, form, allow_redirects=False, timeout=LIMIT_S)
