"""The package in clients/python, built and installed into an empty folder, as its users have it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from devstack.folder import PROJECT

SOURCE = PROJECT / "clients" / "python"
# What it depends on is in the tests' own environment. Its build must not ask the network.
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@cache
def _home() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="chat-api-client-")
    wheels, site = Path(folder.name, "wheels"), Path(folder.name, "site")
    build = (*PIP, "wheel", str(SOURCE), "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run((*PIP, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)), check=True, timeout=120)
    return folder


def installed() -> Path:
    """Return the folder that the package is installed in. Once per process."""
    return Path(_home().name, "site")


@contextmanager
def python_with_package(*arguments: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run Python with the installed package and these variables, not with the project's own code."""
    command = [sys.executable, "-P", *arguments]
    environment = {"PATH": "", "PYTHONPATH": str(installed()), **variables}
    process = subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
