"""Programs of others read docs/openapi.yaml: linters find no error, generators say no warning, and what they make works."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devstack.folder import PROJECT
from tests.clients.node import why_node_is_missing
from tests.support.client import Client
from tests.support.server import Server

FOLDER = Path(__file__).parent
SCHEMA = PROJECT / "docs" / "openapi.yaml"
LIMIT_S = 240
STRICT = ("--strict", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_packages")]


@pytest.fixture(scope="module")
def _packages() -> None:
    if reason := why_node_is_missing():
        pytest.skip(reason)
    if not (FOLDER / "node_modules").is_dir():
        pytest.skip("the Node packages are not installed (npm ci --prefix tests/generators)")


def run(folder: Path, program: str, *arguments: str) -> str:
    """Run a program of the packages and return what it says. It must not fail."""
    # No program may ask whether there is a newer version, or send how it is used.
    quiet = {"CI": "1", "NO_COLOR": "1", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    process = subprocess.run(
        [str(FOLDER / "node_modules" / ".bin" / program), *arguments],
        cwd=folder,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert process.returncode == 0, (process.stdout + process.stderr)[-3000:]
    return process.stdout + process.stderr


def compile_and_call(folder: Path, script: str, *arguments: str) -> Any:
    """Compile a script of this folder with the generated client beside it, run it, and return the JSON that it prints."""
    shutil.copy(FOLDER / script, folder)
    run(folder, "tsc", *STRICT, "--module", "commonjs", "--moduleResolution", "node10", "--outDir", "built", script)
    called = subprocess.run(
        ["node", f"built/{script.removesuffix('.ts')}.js", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert called.returncode == 0, called.stderr[-3000:]
    return json.loads(called.stdout)


def assert_no_warning(said: str) -> None:
    assert not re.search(r"\bwarn|error|deprecat", said, re.IGNORECASE), said


def test_spectral_reports_no_error(tmp_path: Path) -> None:
    (tmp_path / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    run(tmp_path, "spectral", "lint", "--fail-severity=error", str(SCHEMA))


def test_redocly_reports_no_error_and_only_one_warning(tmp_path: Path) -> None:
    # The API has no licence.
    said = run(tmp_path, "redocly", "lint", "--skip-rule=info-license", "--format=json", str(SCHEMA))
    found = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert [(problem["ruleId"], problem["message"]) for problem in found["problems"]] == []


def test_openapi_typescript_makes_types_of_every_stream(tmp_path: Path) -> None:
    assert_no_warning(run(tmp_path, "openapi-typescript", str(SCHEMA), "-o", str(tmp_path / "schema.ts")))
    shutil.copy(FOLDER / "use_types.ts", tmp_path)
    run(tmp_path, "tsc", *STRICT, "--noEmit", "--module", "esnext", "--moduleResolution", "bundler", "use_types.ts")


def test_the_client_of_hey_api_works(tmp_path: Path, service: Server, client: Client) -> None:
    assert_no_warning(run(tmp_path, "openapi-ts", "--input", str(SCHEMA), "--output", "client", "--no-log-file"))
    called = compile_and_call(tmp_path, "use_hey_api.ts", f"http://127.0.0.1:{service.port}", str(client.token))
    assert called == {"titles": ["Tea"], "content": "hello", "text": "hello"}


def test_the_client_of_orval_works(tmp_path: Path, service: Server, client: Client) -> None:
    output = {"target": "client.ts", "client": "fetch", "baseUrl": f"http://127.0.0.1:{service.port}"}
    configuration = {"api": {"input": str(SCHEMA), "output": output}}
    (tmp_path / "orval.config.cjs").write_text(f"module.exports = {json.dumps(configuration)};\n")
    assert_no_warning(run(tmp_path, "orval", "--config", "orval.config.cjs"))
    called = compile_and_call(tmp_path, "use_orval.ts", "", str(client.token))
    assert (called["titles"], called["reply"]["content"]) == (["Tea"], "hello")


def test_the_client_of_openapi_python_client_works(
    tmp_path: Path, service: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(sys.executable).parent / "openapi-python-client"
    made = subprocess.run(
        [program, "generate", "--path", SCHEMA, "--output-path", tmp_path / "made", "--meta", "none", "--fail-on-warning"],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(tmp_path)
    generated, models = (importlib.import_module(name) for name in ("made", "made.models"))
    create, send, listed = (
        importlib.import_module(f"made.api.{name}")
        for name in ("conversations.create_conversation", "messages.send_message", "conversations.list_conversations")
    )
    api = generated.AuthenticatedClient(base_url=f"http://127.0.0.1:{service.port}", token=client.token)
    with api:
        begun = create.sync(client=api, body=models.ConversationCreateRequest(title="Tea"))
        body = models.SendRequest(content="hello", stream=False)
        reply = send.sync(begun.id, client=api, body=body)
        assert reply.content == "hello"
        assert [each.title for each in listed.sync(client=api).items] == ["Tea"]
