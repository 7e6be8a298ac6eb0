"""The code of an earlier version, from the history of this repository."""

import shutil
import subprocess
from pathlib import Path

import pytest

from devstack.folder import PROJECT

# 1.1.0: the last commit without leases.
VERSION_BEFORE = "54878d4"


def unpack(commit: str, folder: Path) -> Path:
    """Write the files of a commit into a folder. Skip the test where the history is not there."""
    git = shutil.which("git")
    archive = git and subprocess.run([git, "archive", commit], cwd=PROJECT, capture_output=True, check=False)
    if not archive or archive.returncode:
        pytest.skip("the repository's history is not here")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder
