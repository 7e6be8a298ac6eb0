"""What documents and docstrings refer to exists: links, files, modules, and the status of each decision."""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from devstack.folder import PROJECT

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PATH = re.compile(
    r"`((?:chatapi|conversations|inference_proxy|devstack|benchmarks|services|surfaces|tests|docs|deploy)/[\w./-]+)`"
)
# A module, or a name in one: `services.sending.begin`, "See services.history.pruning.prune".
ROOM = "chatapi|conversations|inference_proxy|models|services|surfaces|replies|sending|upstream|protocols|management|sign_in"
MODULE = re.compile(rf"`((?:{ROOM})(?:\.\w+)+)`|[Ss]ee ((?:{ROOM})(?:\.\w+)+)")
# A logger, which is not named after its module.
LOGGERS = {"chatapi.requests"}


@functools.cache
def files() -> frozenset[str]:
    """Return the project's files. Installed packages and other tools' folders are left out."""
    found: set[str] = set()
    for folder, below, names in os.walk(PROJECT):
        below[:] = [name for name in below if name != "node_modules" and not name.startswith(".")]
        found |= {str((Path(folder) / name).relative_to(PROJECT)) for name in names}
    return frozenset(found)


def pages() -> list[str]:
    return sorted(name for name in files() if name.endswith(".md"))


@functools.cache
def modules() -> dict[str, str]:
    """Return the source of each module, by its dotted name."""
    names = (name for name in files() if name.endswith(".py"))
    return {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): text_of(name) for name in names}


@functools.cache
def text_of(name: str) -> str:
    return (PROJECT / name).read_text()


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in HEADING.findall(text_of(page)))
    return {heading.replace(" ", "-") for heading in headings}


def is_module(reference: str) -> bool:
    """Whether a module has this name, or a module has a name that ends it, such as that of a class and its method."""
    parts = reference.split(".")
    for known in range(len(parts), max(0, len(parts) - 3), -1):
        ending, rest = ".".join(parts[:known]), parts[known:]
        for name, source in modules().items():
            if f".{name}".endswith(f".{ending}") and all(re.search(rf"\b{word}\b", source) for word in rest):
                return True
    return False


def broken_links() -> Iterator[str]:
    for page in pages():
        for link in LINK.findall(text_of(page)):
            path, _, anchor = link.partition("#")
            target = (PROJECT / page).parent / path if path else PROJECT / page
            if not target.exists() or (anchor and anchor not in anchors(str(target.resolve().relative_to(PROJECT)))):
                yield f"{page}: {link}"


def test_every_link_of_a_document_leads_somewhere() -> None:
    assert list(broken_links()) == []


def test_every_path_that_a_document_names_is_there() -> None:
    known = {str(path) for name in files() for path in (Path(name), *Path(name).parents)}
    missing = [
        f"{page}: {path}"
        for page in pages()
        if page != "CHANGELOG.md"
        for path in PATH.findall(text_of(page))
        if not any(f"/{name}".endswith(f"/{path.rstrip('/')}") for name in known) and not path.startswith("surfaces/<")
    ]
    assert missing == []


def test_every_module_that_a_docstring_names_is_there() -> None:
    missing = [
        f"{name}: {reference}"
        for name, source in modules().items()
        for reference in map("".join, MODULE.findall(source))
        if reference not in LOGGERS and not is_module(reference)
    ]
    assert missing == []


def test_every_decision_has_a_date_and_a_status_and_is_listed() -> None:
    folder = PROJECT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    records = sorted(folder.glob("0*.md"))
    assert records
    for record in records:
        assert re.match(r"# .+\n\n\*\d{4}-\d{2}-\d{2} · (accepted|replaced by)", record.read_text()), record.name
        assert f"]({record.name})" in listed, record.name
