"""clients/python: its README does what it says, and its types are those of the OpenAPI file."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from devstack.folder import PROJECT
from tests.clients.python_package import SOURCE, installed, python_with_package
from tests.clients.test_recipes import SEPARATOR, examples
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import endless, hang_up, tokens
from tests.support.upstream import ScriptedUpstream

SCHEMAS: dict[str, Any] = yaml.safe_load((PROJECT / "docs" / "openapi.yaml").read_text())["components"]["schemas"]


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    sys.path.insert(0, str(installed()))
    yield importlib.import_module("chat_api_client")
    sys.path.remove(str(installed()))


def test_the_readme_prints_what_it_says(service: Server, client: Client, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.script(tokens("break"), hang_up(), when="break off")
    upstream.script(endless("1 "), when="count to a million")
    found = examples("python", SOURCE / "README.md")
    script = tmp_path / "readme.py"
    script.write_text(f"print({SEPARATOR!r})\n".join(code for code, _ in found))
    address = {"BASE": f"http://127.0.0.1:{service.port}", "TOKEN": client.token or ""}
    with python_with_package(str(script), **address) as process:
        output, problems = process.communicate(timeout=60)
    assert process.returncode == 0, problems
    assert [part.strip() for part in output.split(SEPARATOR)] == [answer.strip() for _, answer in found]


@pytest.mark.parametrize(("name", "schema"), [("Conversation", "Conversation"), ("Message", "Message"), ("SearchHit", "Hit")])
def test_the_types_have_the_fields_of_the_openapi_file(package: ModuleType, name: str, schema: str) -> None:
    declared = getattr(package, name)
    assert set(declared.__annotations__) == set(SCHEMAS[schema]["properties"])


def test_the_package_says_that_it_is_typed(package: ModuleType) -> None:
    assert Path(package.__file__ or "", "..", "py.typed").resolve().exists()


def test_both_clients_have_the_same_methods(package: ModuleType) -> None:
    for blocking, other in (("ChatClient", "AsyncChatClient"), ("Reply", "AsyncReply")):
        names = {name for name in vars(getattr(package, blocking)) if not name.startswith("_")}
        assert names == {name for name in vars(getattr(package, other)) if not name.startswith("_")}
