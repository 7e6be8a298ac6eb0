"""Where the dev stack keeps its data, logs and keys, and the keys themselves."""

import hashlib
import json
import os
import secrets
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


class FolderProblem(Exception):
    """The dev stack's folder cannot be used. The text says why and what to do."""


def devstack_folder() -> Path:
    """Return the dev stack's folder. Create it if it is missing.

    It is `.devstack` in the project. For root, PostgreSQL runs as the user `nobody`. If that user cannot enter the project
    (`/root/…`), the folder is below `/var/tmp` instead, because opening the project to everyone would be worse.
    `DEVSTACK_DIR` overrides both.
    """
    configured = os.environ.get("DEVSTACK_DIR")
    folder = Path(configured).resolve() if configured else PROJECT / ".devstack"
    if not configured and os.geteuid() == 0 and not is_open_to_everyone(folder):
        name = hashlib.sha256(os.fsencode(PROJECT)).hexdigest()[:12]
        folder = Path("/var/tmp") / f"chat-api-devstack-{name}"
    try:
        folder.mkdir(mode=0o711, parents=bool(configured), exist_ok=True)
    except OSError as error:
        raise FolderProblem(f"Cannot create {folder} ({error.strerror}). Choose another folder with DEVSTACK_DIR=…") from None
    found = folder.lstat()
    # Below /var/tmp another user could have created the folder first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise FolderProblem(f"{folder} does not belong to this user. Choose another folder with DEVSTACK_DIR=…")
    return folder


def is_open_to_everyone(path: Path) -> bool:
    """Say whether every user can enter all folders above a path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents if folder.exists())


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of one dev stack: random, created at its first start, then kept."""

    django_secret_key: str
    internal_api_key: str
    token_signing_key: str


def keys_in(folder: Path) -> Keys:
    """Read the folder's keys. Create them if they are missing; if several processes do so at once, the first one wins."""
    path = folder / "keys.json"
    if not path.exists():
        keys = Keys(secrets.token_urlsafe(48), secrets.token_urlsafe(24), secrets.token_urlsafe(48))
        descriptor, draft = tempfile.mkstemp(dir=folder, prefix="keys.")
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(keys), file)
        try:
            # Unlike a rename, a link fails when another process was first.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return Keys(**json.loads(path.read_text()))
