"""Which modules may import which, read from the sources."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("chatapi", "conversations", "inference_proxy")
SURFACES = sorted(folder.name for folder in (PROJECT / "conversations" / "surfaces").iterdir() if (folder / "urls.py").exists())


def sources(part: str) -> Iterator[Path]:
    """Yield a package's modules, without its tests, or the one module that the path names."""
    path = PROJECT / part
    for file in [path] if path.suffix else sorted(path.rglob("*.py")):
        if "tests" not in file.relative_to(PROJECT).parts and file.name != "conftest.py":
            yield file


@functools.cache
def imports(file: Path, *, at_runtime: bool = False) -> set[str]:
    """Return the names that a module imports, wherever in it, as absolute dotted names.

    With `at_runtime`, leave out those that only the type checker imports.
    """
    package = file.relative_to(PROJECT).with_suffix("").parts[:-1]
    tree = ast.parse(file.read_text())
    if at_runtime:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


def offenders(part: str, *forbidden: str) -> list[str]:
    """Return which modules of a folder, or which one module, import something forbidden, and what."""
    return [
        f"{file.relative_to(PROJECT)} imports {name}"
        for file in sources(part)
        for name in sorted(imports(file))
        if any(name == one or name.startswith(f"{one}.") for one in forbidden)
    ]


def test_the_reader_of_imports_sees_them(tmp_path: Path) -> None:
    found = imports(PROJECT / "conversations" / "services" / "conversations.py")
    assert {"uuid.UUID", "collections.abc.Sequence", "conversations.models.Conversation"} <= found
    assert offenders("conversations", "conversations.services")
    assert len(SURFACES) >= 1


def test_no_application_module_imports_gevent() -> None:
    assert [offender for package in PACKAGES for offender in offenders(package, "gevent", "asyncio", "greenlet")] == []


def test_the_project_knows_nothing_of_the_application_but_where_it_puts_both_together() -> None:
    together = ("chatapi/settings.py", "chatapi/urls.py", "chatapi/wsgi.py")
    assert [offender for offender in offenders("chatapi", "conversations") if not offender.startswith(together)] == []


def test_the_inference_side_knows_no_database_and_no_view() -> None:
    forbidden = ("django.db", "django.contrib", "rest_framework", "conversations", "psycopg")
    assert offenders("inference_proxy", *forbidden) == []


def test_models_and_services_know_no_http() -> None:
    http = ("django.http", "rest_framework", "conversations.surfaces", "conversations.admin", "django.urls")
    assert offenders("conversations/services", *http) == []
    above = (*http, "conversations.services", "inference_proxy")
    for lower in ("models", "querysets.py", "keyset.py", "ids.py", "exceptions.py"):
        assert offenders(f"conversations/{lower}", *above) == []


@pytest.mark.parametrize("surface", SURFACES)
def test_surfaces_do_not_import_one_another(surface: str) -> None:
    others = [f"conversations.surfaces.{other}" for other in SURFACES if other != surface]
    assert offenders(f"conversations/surfaces/{surface}", *others) == []


def test_what_surfaces_share_knows_none_of_them() -> None:
    for file in (PROJECT / "conversations" / "surfaces").glob("*.py"):
        for surface in SURFACES:
            prefix = f"conversations.surfaces.{surface}"
            assert not [name for name in imports(file) if name == prefix or name.startswith(f"{prefix}.")], file


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_has_the_same_files(surface: str) -> None:
    folder = PROJECT / "conversations" / "surfaces" / surface
    names = {path.name.removesuffix(".py") for path in folder.iterdir()}
    assert {"urls", "operations", "queries", "requests", "responses", "views", "tests"} <= names


@pytest.mark.parametrize("name", ["requests", "responses", "operations"])
def test_descriptions_of_requests_and_responses_call_no_service(name: str) -> None:
    surfaces = PROJECT / "conversations" / "surfaces"
    files = [*surfaces.rglob(f"{name}.py"), *surfaces.rglob(f"{name}/*.py")]
    assert len(files) >= len(SURFACES)
    for file in files:
        assert not [imported for imported in imports(file) if imported.startswith("conversations.services")], file


def test_admin_and_commands_use_no_surface() -> None:
    assert offenders("conversations/admin", "conversations.surfaces") == []
    assert offenders("conversations/management", "conversations.surfaces") == []


def test_migrations_import_nothing_that_changes_after_them() -> None:
    """They must do the same in years. What they share is in `conversations.migrating`, which does not change what they did."""
    later = ("models", "querysets", "expressions", "services", "surfaces", "admin")
    assert offenders("conversations/migrations", *(f"conversations.{name}" for name in later)) == []


def test_the_project_does_not_depend_on_its_dev_stack_or_tests() -> None:
    assert [offender for package in PACKAGES for offender in offenders(package, "devstack", "tests", "benchmarks")] == []


@functools.cache
def runtime_imports() -> dict[str, set[str]]:
    """Return which application modules each one imports, also inside functions, but not under `if TYPE_CHECKING`."""
    files = {}
    for file in (file for package in PACKAGES for file in sources(package)):
        parts = file.relative_to(PROJECT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return {
        module: {_module_of(name, files) for name in imports(file, at_runtime=True)} & set(files) - {module}
        for module, file in files.items()
    }


def _module_of(name: str, files: dict[str, Path]) -> str:
    """Return the module of an imported name: the name itself, or what it is imported from."""
    return name if name in files else name.rpartition(".")[0]


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        waiting, seen = [module], set()
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[module] = seen
    groups = ({other for other in seen if module in reached[other]} for module, seen in reached.items())
    return [set(group) for group in {frozenset(group) for group in groups if group}]


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [{"b", "c"}]
    graph = runtime_imports()
    assert "conversations.querysets" in graph["conversations.models.messages"]
    # Imported inside a function.
    assert "chatapi.database.pools" in graph["conversations.apps"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(runtime_imports()) == []


def siblings(one: str, other: str) -> tuple[str, str]:
    """Return what two modules are, or are in, where their names part. Both are "" if one holds the other."""
    ours, theirs = one.split("."), other.split(".")
    shared = next((number for number, parts in enumerate(zip(ours, theirs, strict=False)) if parts[0] != parts[1]), None)
    return ("", "") if shared is None else (".".join(ours[: shared + 1]), ".".join(theirs[: shared + 1]))


def folders_that_import_each_other(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the pairs of folders, beside each other, that import each other."""
    pairs = {siblings(module, other) for module, others in graph.items() for other in others} - {("", "")}
    mutual = {pair for pair in pairs if pair[0] < pair[1] and pair[::-1] in pairs}
    return {pair for pair in mutual if all(any(module.startswith(f"{name}.") for module in graph) for name in pair)}


def test_folders_that_import_each_other_are_found() -> None:
    graph = {"a.b.c": {"a.d.e", "a.g"}, "a.d": {"a.b"}, "a.d.e": {"a.d.f"}, "a": {"a.b.c"}, "a.g": {"a.b.c"}}
    assert folders_that_import_each_other(graph) == {("a.b", "a.d")}


def test_no_two_folders_import_each_other() -> None:
    """The settings, the URLs and the server's entry point put the packages together, so they import all of them."""
    together = ("chatapi.settings", "chatapi.urls", "chatapi.wsgi")
    graph = {module: others for module, others in runtime_imports().items() if module not in together}
    assert folders_that_import_each_other(graph) == set()


def test_the_server_imports_nothing_that_gevent_must_patch_first() -> None:
    late = "{'django', 'asgiref', 'psycopg', 'requests'}"
    code = f"import sys, gunicorn_worker.waiting, gunicorn_worker.worker; print(sorted({late} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_service_error_is_a_leaf() -> None:
    ours = [name for name in imports(PROJECT / "chatapi" / "service_error.py") if name.split(".")[0] in PACKAGES]
    assert ours == []
