"""The audit fails for a known vulnerability, and says so if it could not ask."""

import json
import subprocess
from typing import Any

import pytest

from devstack import audit

SOUND = {"name": "django", "version": "5.2.19", "vulns": []}
VULNERABLE = {"name": "orjson", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "gevent", "skip_reason": "not found"}


def audited(monkeypatch: pytest.MonkeyPatch, stdout: str | Exception) -> int:
    def run(*_: Any, **__: Any) -> "subprocess.CompletedProcess[str]":
        if isinstance(stdout, Exception):
            raise stdout
        return subprocess.CompletedProcess([], 1, stdout=stdout)

    monkeypatch.setattr(subprocess, "run", run)
    return audit.main()


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND], 0, ""),
        ([SOUND, VULNERABLE], 1, "orjson 1.0 has a known vulnerability: PYSEC-1; fixed in: 1.1\n"),
        ([SOUND, UNKNOWN], 0, "Not audited for known vulnerabilities: 1 package(s) (PyPI does not know them here).\n"),
    ],
)
def test_what_it_says(monkeypatch: pytest.MonkeyPatch, capsys: Any, packages: list[Any], code: int, said: str) -> None:
    assert audited(monkeypatch, json.dumps({"dependencies": packages})) == code
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("failure", ["", "{}", subprocess.TimeoutExpired("pip-audit", 30)])
def test_without_an_answer_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: Any, failure: Any) -> None:
    assert audited(monkeypatch, failure) == 0
    assert capsys.readouterr().out.startswith("Not audited for known vulnerabilities: all package(s) (")
