"""docs/configuration.md lists the variables that the code reads, and no others."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
READERS = ("chatapi/settings.py", "gunicorn.conf.py")
# Not for operators: only the tests set it.
UNDOCUMENTED = {"ABANDONED_AFTER_SECONDS"}


def test_the_page_lists_exactly_the_variables_that_are_read() -> None:
    sources = "".join((PROJECT / name).read_text() for name in READERS)
    read = set(re.findall(r"_environment\.\w+\(\s*[\"']([A-Z_0-9]+)[\"']", sources))
    rows = re.findall(r"^\| (`.*?) \|", (PROJECT / "docs/configuration.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([A-Z_0-9]+)`", row)}

    assert documented == read - UNDOCUMENTED
