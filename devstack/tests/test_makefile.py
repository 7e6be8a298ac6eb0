"""Which Python `make` takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.folder import PROJECT

UP_TO_DATE = "Nothing to be done"
MADE_ANEW = "-m venv --clear"
# `make test` may run this test, and would pass its own choices on.
VARIABLES_OF_MAKE = {"PYTHON", "VENV", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment that is up to date, and beside it a Python of another version."""
    made = tmp_path / "venv"
    (made / "bin").mkdir(parents=True)
    make_program(made / "bin" / "python", f'exec "{sys.executable}" "$@"')
    make_program(tmp_path / "other-python", "echo another version")
    (made / ".installed").touch()
    return made


def make_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(venv: Path, *arguments: str, **variables: str) -> str:
    """Return what `make setup` would do."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES_OF_MAKE}
    command = ["make", "--dry-run", "setup", f"VENV={venv}", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment | variables, check=True, capture_output=True, text=True).stdout


def test_an_environment_stays_as_it_is_unless_another_python_is_named(venv: Path) -> None:
    assert UP_TO_DATE in set_up(venv)
    assert UP_TO_DATE in set_up(venv, f"PYTHON={sys.executable}")


def test_an_environment_of_another_python_is_made_anew(venv: Path) -> None:
    other = str(venv.parent / "other-python")
    assert MADE_ANEW in set_up(venv, f"PYTHON={other}")
    assert MADE_ANEW in set_up(venv, PYTHON=other)
