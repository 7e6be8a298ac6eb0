"""Check offline that requirements.lock matches requirements.txt and the installed packages.

`python -m devstack.lock`, a part of `make check`. `make lock` writes the file.
"""

import re
import sys
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devstack.folder import PROJECT

ASKED_FOR = re.compile(r"^    # (?:via| ) -r requirements\.txt$", re.MULTILINE)


class Locked(NamedTuple):
    requirement: Requirement
    is_direct: bool  # requirements.txt names it


def read_requirements(text: str) -> dict[str, str]:
    """Return what each line asks for, by name: `{"django": "==5.2.19"}`."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in requirements}


def read_lock(text: str) -> dict[str, Locked]:
    """Return the lock file's packages by name."""
    packages: dict[str, Locked] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        requirement = Requirement(block.partition("\\")[0])
        packages[canonicalize_name(requirement.name)] = Locked(requirement, bool(ASKED_FOR.search(block)))
    return packages


def differences(requirements: dict[str, str], locked: dict[str, Locked]) -> list[str]:
    """List where the lock file differs from the requirements."""
    found = []
    for name, wanted in requirements.items():
        pinned = str(locked[name].requirement.specifier) if name in locked else "missing"
        if pinned != wanted:
            found.append(f"{name}: {wanted} in requirements.txt, {pinned} in requirements.lock")
    gone = (name for name, package in locked.items() if package.is_direct and name not in requirements)
    found += [f"{name}: only in requirements.lock" for name in gone]
    return found


def installed_otherwise(locked: dict[str, Locked]) -> list[str]:
    """List the locked packages for this platform that are missing here or have another version."""
    found = []
    for name, (requirement, _) in locked.items():
        if requirement.marker and not requirement.marker.evaluate():
            continue
        if installed_version(name) not in requirement.specifier:
            found.append(f"{name}: {requirement.specifier} in requirements.lock, {installed_version(name) or 'none'} installed")
    return found


def installed_version(name: str) -> str:
    """Return a package's version, or "" if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def main() -> int:
    requirements = read_requirements((PROJECT / "requirements.txt").read_text())
    locked = read_lock((PROJECT / "requirements.lock").read_text())
    if problems := differences(requirements, locked):
        problems.append("requirements.lock is out of date; run: make lock")
    elif problems := installed_otherwise(locked):
        problems.append("The installed packages differ from requirements.lock; run: make setup")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
