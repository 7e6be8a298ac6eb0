"""Look for secrets in the project's files: `python -m devstack.secret_scan`, a part of `make check`.

A secret is a text in a format that detect-secrets knows (a provider's token, a private key, a password in a URL), or a long
random text. A key that is only for tests or checks says so (`only-for-tests-…`). A line with another false alarm ends in
`# pragma: allowlist secret`. detect-secrets' own scan needs 20 s for these files, so this one reads each file once with all
formats.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString, HighEntropyStringsPlugin

from devstack.folder import PROJECT

# Tools write these files, with a hash in each line.
HASHES = {
    "requirements.lock",
    "requirements-observability.lock",
    "tests/clients/package-lock.json",
    "tests/generators/package-lock.json",
    "tests/sign_in/package-lock.json",
    "clients/typescript/package-lock.json",
}
DETECTORS: dict[str, Any] = get_mapping_from_secret_type_to_class()
FORMATS: list[tuple[str, re.Pattern[str]]] = [
    (name, pattern)
    for name, detector in DETECTORS.items()
    if issubclass(detector, RegexBasedDetector) and name != "Public IP (ipv4)"
    for pattern in vars(detector)["denylist"]
]
HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z-])[0-9a-f]{32,}(?![0-9A-Za-z-])")
# Random letters and digits have all three kinds in 32 characters. Names of tests and paths do not.
BASE64 = re.compile(r"(?<![\w+/-])(?=\S*[A-Z])(?=\S*[a-z])(?=\S*\d)[A-Za-z0-9+/_-]{32,}={0,2}(?![\w+/-])")
RANDOM: list[tuple[re.Pattern[str], HighEntropyStringsPlugin]] = [
    (HEXADECIMAL, HexHighEntropyString(limit=3.0)),
    (BASE64, Base64HighEntropyString(limit=4.5)),
]
MARKED = re.compile(r"pragma: allowlist secret|only-for-")
IN_URL = "Basic Auth Credentials"
# Passwords in URLs of tests and documents; so are all that are shorter than eight characters.
PLACEHOLDERS = {"password", "a-pass%3aword"}
SHORTEST_PASSWORD = 8


class Finding(NamedTuple):
    line: int
    kind: str


def find_secrets(text: str) -> list[Finding]:
    """List where this text has secrets, in the order of their lines."""
    return sorted(
        {Finding(text.count("\n", 0, match.start()) + 1, kind) for kind, match in suspects(text) if not is_marked(match)}
    )


def suspects(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    for kind, pattern in FORMATS:
        for match in pattern.finditer(text):
            if kind != IN_URL or (len(match[1]) >= SHORTEST_PASSWORD and match[1].lower() not in PLACEHOLDERS):
                yield kind, match
    for pattern, judge in RANDOM:
        for match in pattern.finditer(text):
            if judge.calculate_shannon_entropy(match[0]) > judge.entropy_limit:
                yield "random text", match


def is_marked(match: re.Match[str]) -> bool:
    """Whether the line says that this is no secret."""
    start, end = match.string.rfind("\n", 0, match.start()) + 1, match.string.find("\n", match.end())
    line = match.string[start : end if end >= 0 else None]
    return bool(MARKED.search(line))


def tracked_files(folder: Path) -> list[str]:
    """List the files that are in git, or would be after `git add`. None outside a working copy."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [name for name in listed.stdout.split("\0") if name and name not in HASHES]


def main(folder: Path = PROJECT) -> int:
    names = tracked_files(folder)
    found = [(name, finding) for name in names for finding in find_secrets(read_text(folder / name))]
    for name, finding in found:
        # Never the secret itself: logs of CI are read by many.
        print(f"{name}:{finding.line}: looks like a secret: {finding.kind}")
    if not names:
        print("Not searched for secrets: this is no working copy of git.")
    return 1 if found else 0


def read_text(path: Path) -> str:
    """Return the text of a file, or "" if it is no text or is gone."""
    try:
        return path.read_text()
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
