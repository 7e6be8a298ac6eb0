"""clients/typescript: its README does what it says, with types that hold, and the package has what it needs and no more."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.test_recipes import SEPARATOR, examples
from tests.clients.typescript_package import NAME, SOURCE, TOOLS, installed_in, why_not_packed
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import endless, hang_up, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.skipif(why_not_packed() is not None, reason=str(why_not_packed()))
GIVEN = """declare const process: { env: Record<string, string> };
const { BASE, TOKEN } = process.env as { BASE: string; TOKEN: string };
"""
STRICT = (
    "--noEmit",
    "--strict",
    "--module",
    "nodenext",
    "--target",
    "es2022",
    "--lib",
    "es2023,dom,dom.asynciterable",
)
MISTAKES = ["chat.send(tea.id, 1)", "tea.titel", 'chat.changeConversation(tea.id, { is_favorited: "yes" })']


def readme(folder: Path) -> Path:
    """Write the README's code as one module into a folder that can import the package."""
    script = folder / "readme.mts"
    script.write_text(GIVEN + f"console.log({SEPARATOR!r});\n".join(code for code, _ in examples("ts", SOURCE / "README.md")))
    return script


def test_the_readme_prints_what_it_says(service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("break"), hang_up(), when="break off")
    upstream.script(endless("1 "), when="count to a million")
    script = readme(installed_in())
    compiled = script.with_suffix(".mjs")
    compile_it = [str(TOOLS / ".bin" / "tsc"), *STRICT[1:], str(script)]
    checked = subprocess.run(compile_it, capture_output=True, text=True, timeout=120, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")
    address = {"BASE": f"http://127.0.0.1:{service.port}", "TOKEN": client.token or ""}
    ran = subprocess.run(
        ["node", str(compiled)], env={**os.environ, **address}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    printed = [part.strip() for part in ran.stdout.split(SEPARATOR)]
    assert printed == [answer.strip() for _, answer in examples("ts", SOURCE / "README.md")]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_by_its_types(mistake: str, tmp_path: Path) -> None:
    script = installed_in() / f"{tmp_path.name}.mts"
    begin = f'import {{ ChatClient }} from "{NAME}";\nconst chat = new ChatClient("", {{ token: "" }});\n'
    script.write_text(f'{begin}const tea = await chat.conversation("");\nexport const found = {mistake};\n')
    checked = subprocess.run(
        [str(TOOLS / ".bin" / "tsc"), *STRICT, script.name],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.stdout.startswith(script.name) and checked.stdout.count("error TS") == 1, checked.stdout


def test_the_package_has_only_what_its_users_need() -> None:
    package = installed_in() / "node_modules" / NAME
    assert {path.name for path in package.iterdir()} == {"README.md", "dist", "package.json"}
    assert "dependencies" not in json.loads((package / "package.json").read_text())
