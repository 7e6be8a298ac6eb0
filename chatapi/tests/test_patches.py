"""docs/patches.md lists what the service uses of other projects' insides, and the pinned versions have all of it."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "patches.md"
PACKAGES = ("chatapi", "conversations", "inference_proxy")
OURS = (*PACKAGES, "tests")
MOST = 20
# Documented by Django, by the REST framework and by Python (logging, named tuples), in spite of their form.
DOCUMENTED = {"_meta", "_request", "_srcfile", "_default_manager", "_fields", "_asdict", "_replace"}
# A type of the standard library that has no public name.
TYPES_ONLY = {"_Decompress"}
# Said in the row of another name.
BESIDE = {"_put_conn", "_make_request", "_read_event", "_timer", "DELAY_BACKOFF"}


def rows() -> dict[str, list[str]]:
    """Return each name that the page lists, with its files."""
    cells = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): re.findall(r"`([^`]+)`", row[1]) for row in cells}


def sources() -> Iterator[tuple[str, ast.Module]]:
    files = [file for package in (*PACKAGES, "gunicorn_worker") for file in (PROJECT / package).rglob("*.py")]
    for file in [*files, PROJECT / "gunicorn.conf.py"]:
        name = file.relative_to(PROJECT).as_posix()
        if "/tests/" not in name and "/migrations/" not in name:
            yield name, ast.parse(file.read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def names_made_here(trees: list[ast.Module]) -> set[str]:
    """Return the names of functions, classes and attributes that the service itself defines."""
    made: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                made.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")):
                made.add(name)
    return made


def used(name: str, tree: ast.Module, made: set[str]) -> set[str]:
    """Return the private names of others that a module uses: what nothing here defines, and what is asked of a base class."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            of_base = ast.unparse(node.value) in ("super()", "hidden")
            if of_base or node.attr not in made:
                found.add(node.attr)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in OURS:
            found |= {alias.name for alias in node.names if is_private(alias.name)}
    return found


def test_the_page_lists_all_that_is_used() -> None:
    modules = dict(sources())
    made = names_made_here(list(modules.values()))
    listed = {(file, name.rpartition(".")[2]) for name, files in rows().items() for file in files}
    missing = sorted(
        f"{file} uses {name}"
        for file, tree in modules.items()
        for name in used(file, tree, made)
        if (file, name) not in listed and name not in BESIDE | TYPES_ONLY
    )
    assert missing == []


def test_there_are_few() -> None:
    assert len(rows()) <= MOST


@pytest.mark.parametrize("name", rows())
def test_the_pinned_version_has_it(name: str) -> None:
    path, _, attribute = name.rpartition(".")
    module, _, owner = path.rpartition(".")
    kind = getattr(importlib.import_module(module), owner)
    # Some are set when an object is made.
    source = Path(importlib.import_module(kind.__module__).__file__ or "").read_text()
    assert hasattr(kind, attribute) or re.search(rf"\bself\.{attribute}\b", source), f"{name} is gone"


@pytest.mark.parametrize("name", rows())
def test_each_is_still_used_where_the_page_says(name: str) -> None:
    attribute = name.rpartition(".")[2]
    for file in rows()[name]:
        assert re.search(rf"\.{attribute}\b|def {attribute}\b", (PROJECT / file).read_text()), f"{file} does not use {name}"
