"""Where the dev stack keeps its data, its keys and its logs."""

import hashlib
import os
import secrets
import stat
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return the folder, made where it is missing: DEVSTACK_DIR, else `.devstack` in the project.

    As root PostgreSQL runs as another user, who must be able to reach the folder. Where the project lies in a private
    place, the data goes to /var/tmp instead of opening that place to everyone.
    """
    chosen = os.environ.get("DEVSTACK_DIR")
    if chosen:
        folder = Path(chosen).resolve()
    elif os.geteuid() == 0 and not _others_can_reach(PROJECT):
        folder = Path("/var/tmp") / f"chatapi-devstack-{hashlib.sha256(str(PROJECT).encode()).hexdigest()[:12]}"
    else:
        folder = PROJECT / ".devstack"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept_secret(folder: Path, name: str) -> str:
    """Return a random secret that stays the same for this folder."""
    file = folder / f"{name}.secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(48))
    return file.read_text()


def _others_can_reach(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
