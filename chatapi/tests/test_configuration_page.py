"""docs/configuration.md lists the variables that the code reads, and no others, with their defaults."""

import ast
import re
from collections.abc import Iterator
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


def defaults_of_code() -> Iterator[tuple[str, str]]:
    """Yield each variable whose default is written in the code as a text or a number, with that default."""
    for reader in READERS:
        for call in ast.walk(ast.parse((PROJECT / reader).read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("_environment.") and len(call.args) > 1:
                name, default = call.args[:2]
                # The second argument of `required` is what the message asks for.
                if isinstance(default, ast.Constant) and not ast.unparse(call.func).endswith(".required"):
                    yield ast.literal_eval(name), str(default.value).replace("True", "true").replace("False", "false")


def defaults_of_page() -> dict[str, str]:
    found = {}
    for row, cell in re.findall(r"^\| (`.*?) \| (.*?) \|", (PROJECT / "docs/configuration.md").read_text(), re.MULTILINE):
        names = re.findall(r"`([A-Z_0-9]+)`", row)
        defaults = [default.strip().strip("`") for default in (cell.split(", ") if len(names) > 1 else [cell])]
        found |= dict(zip(names, defaults if len(defaults) == len(names) else defaults * len(names), strict=False))
    return found


def test_the_defaults_are_those_of_the_code() -> None:
    documented, read = defaults_of_page(), dict(defaults_of_code())
    assert len(read) > 40
    named = {name: default for name, default in read.items() if name not in UNDOCUMENTED}
    assert {name: documented[name] for name in named} == named
