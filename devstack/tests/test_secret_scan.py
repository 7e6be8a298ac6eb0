"""The search for secrets finds planted ones, and accepts those that are marked as none."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from devstack import secret_scan

# Put together here, so that this file contains none.
HEXADECIMAL = hashlib.sha256(b"openssl rand -hex 32").hexdigest()
PLANTED = {
    "openssl rand -hex 32": f"SECRET_KEY={HEXADECIMAL}",
    "base64": 'KEY = "q8Zk3vTn1LxW7bRf' + 'YcJ5hPdG0mSa9uEo"',
    "AWS": "aws_access_key_id = AKIA" + "Z7QJ5XN3KDW2RTYH",
    "GitHub": "token: ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "JSON Web Token": "Bearer " + ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxIn0", "c2lnbmF0dXJlLW9mLXRoaXM"]),
    "password in a URL": "DATABASE_URL=postgresql://chat:" + "correct-horse@db1/chat",
}


@pytest.mark.parametrize("line", PLANTED.values(), ids=PLANTED)
def test_a_secret_is_found(line: str) -> None:
    assert [finding.line for finding in secret_scan.find_secrets(f"first line\n{line}\nlast line\n")] == [2]


@pytest.mark.parametrize(
    "line",
    [
        f"SECRET_KEY=only-for-tests-{HEXADECIMAL}",
        f'TRACE = "{HEXADECIMAL}"  # pragma: allowlist secret',
        "DATABASE_URL=postgresql://chat:PASSWORD@127.0.0.1/chat",
        "0" * 64,
        "01988b8e-5b5c-7cc0-8d0a-0e5b8a4b6f6d",
        "def test_a_long_name_with_a_Capital_and_a_1_is_no_secret() -> None:",
    ],
)
def test_what_is_marked_or_not_random_is_none(line: str) -> None:
    assert secret_scan.find_secrets(line) == []


def test_it_names_the_place_and_not_the_secret(tmp_path: Path, capsys: Any) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "clean.txt").write_text("nothing here\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert (secret_scan.main(tmp_path), capsys.readouterr().out) == (0, "")
    (tmp_path / "new.env").write_text(f"A=1\nSECRET_KEY={HEXADECIMAL}\n")
    assert (secret_scan.main(tmp_path), capsys.readouterr().out) == (1, "new.env:2: looks like a secret: random text\n")
    (tmp_path / ".gitignore").write_text("*.env\n")
    assert secret_scan.main(tmp_path) == 0


def test_without_git_it_says_so(tmp_path: Path, capsys: Any) -> None:
    assert secret_scan.main(tmp_path) == 0
    assert capsys.readouterr().out == "Not searched for secrets: this is no working copy of git.\n"
