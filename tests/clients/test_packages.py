"""The packages of `package.json` are installed, and Node can load them."""

import json

import pytest

from tests.clients.conftest import StartScript
from tests.clients.node import FOLDER

PACKAGES = sorted(json.loads((FOLDER / "package.json").read_text())["dependencies"])


@pytest.mark.parametrize("package", PACKAGES)
def test_node_loads_the_package(start_script: StartScript, package: str) -> None:
    assert start_script("packages.mjs").ask(do="names", package=package)


def test_an_exception_is_an_answer(start_script: StartScript) -> None:
    assert "no-such-package" in start_script("packages.mjs").ask(do="names", package="no-such-package")["thrown"]


def test_every_version_is_pinned() -> None:
    dependencies = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    assert dependencies
    for wanted in dependencies.values():
        assert wanted.removeprefix("npm:").rpartition("@")[2].replace(".", "").isdigit(), wanted
