"""The package in clients/typescript, packed and unpacked into an empty folder, as its users have it."""

import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.folder import PROJECT
from tests.clients.node import why_node_is_missing

SOURCE = PROJECT / "clients" / "typescript"
TOOLS = SOURCE / "node_modules"
NAME = "chat-api-service-client"


def why_not_packed() -> str | None:
    """Return why the package can't be built here, or None if it can."""
    if reason := why_node_is_missing():
        return reason
    return None if TOOLS.is_dir() else "its tools are not installed (npm ci --prefix clients/typescript)"


@cache
def _home() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="chat-api-client-")
    # Built in a copy, because other processes build it too.
    copy, packed = Path(folder.name, "clients", "typescript"), Path(folder.name, "packed")
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(TOOLS)
    Path(folder.name, "docs").mkdir()
    shutil.copy(PROJECT / "docs" / "openapi.yaml", Path(folder.name, "docs"))
    packed.mkdir()
    command = ["npm", "pack", "--pack-destination", str(packed)]
    subprocess.run(command, cwd=copy, check=True, timeout=180, capture_output=True)
    (archive,) = packed.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extractall(packed, filter="data")
    (packed / "package").rename(_modules(folder) / NAME)
    return folder


def _modules(folder: TemporaryDirectory[str]) -> Path:
    modules = Path(folder.name, "user", "node_modules")
    modules.mkdir(parents=True)
    return modules


def installed_in() -> Path:
    """Return a folder whose scripts can import the package. Once per process."""
    return Path(_home().name, "user")
