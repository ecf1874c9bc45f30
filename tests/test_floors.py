"""Who may know whom. The imports are read, not run, and every rule stands with its reason.

A rule that is in the way is changed here, with its reason, in the commit that needs it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ("schemas", "orchestrator", "node_runtime")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

VERSION = "node_runtime.VERSION"  # what the program itself says, to every room of it

# room: (the rooms of the three programs that it may import beside itself, why no more)
ROOMS: dict[str, tuple[frozenset[str], str]] = {
    "schemas": (frozenset(), "the contract must not depend on either program that keeps it"),
    "orchestrator.errors": (frozenset(), "every room raises them"),
    "orchestrator.load": (frozenset({"schemas"}), "it reads what people write and judges only its form"),
    "orchestrator.model": (
        frozenset({"schemas"}),
        "what documents mean must not depend on how they were read",
    ),
    "orchestrator.plan": (frozenset({"schemas"}), "it compares node plans, wherever they came from"),
    "orchestrator.trust": (
        frozenset({"schemas", "orchestrator.errors"}),
        "who vouches for nodes must not know how they are reached",
    ),
    "orchestrator.render": (
        frozenset({"schemas", "orchestrator.errors", "orchestrator.model", "orchestrator.plan"}),
        "it shows values, and never asks a node or a file",
    ),
    "orchestrator.apply": (
        frozenset({"schemas", "orchestrator.errors", "orchestrator.plan", "orchestrator.trust"}),
        "the push carries out what was decided, and must not decide it anew from documents",
    ),
    "orchestrator.adhoc": (
        frozenset({"schemas", "orchestrator.errors"}),
        "a sync without YAML needs nothing of the planner",
    ),
    "orchestrator.cli": (
        frozenset(
            f"orchestrator.{room}"
            for room in ("adhoc", "apply", "errors", "load", "model", "plan", "render", "trust")
        )
        | {"schemas"},
        "it joins the orchestrator's rooms, and no others",
    ),
    "node_runtime.errors": (frozenset(), "every room raises them"),
    "node_runtime.replica": (
        frozenset({"schemas"}),
        "what is decided about files knows nothing of disks or peers",
    ),
    "node_runtime.exchange": (
        frozenset({"schemas", "node_runtime.replica"}),
        "what is said knows nothing of what carries it, nor of disks",
    ),
    "node_runtime.disk": (
        frozenset({"schemas", "node_runtime.errors", "node_runtime.replica"}),
        "the disk serves one replica, whoever its peers are",
    ),
    "node_runtime.net": (
        frozenset({"schemas", "node_runtime.errors", "node_runtime.exchange"}),
        "the net carries messages, whatever files they speak of",
    ),
    "node_runtime.daemon": (
        frozenset(f"node_runtime.{room}" for room in ("disk", "errors", "exchange", "net", "replica"))
        | {"schemas"},
        "it joins the runtime's rooms, and knows no command line",
    ),
    "node_runtime.cli": (
        frozenset(f"node_runtime.{room}" for room in ("daemon", "disk", "errors", "exchange")) | {"schemas"},
        "it starts the daemon, asks it, and names its errors; files and peers are the daemon's",
    ),
}

# Rooms without I/O, clock or randomness: a whole fleet and its faults run in memory, seeded and repeatable.
PURE = ("orchestrator.model", "orchestrator.plan", "node_runtime.replica", "node_runtime.exchange")
PURE_LIBRARIES = ("msgspec", "networkx", "pathspec")
PURE_STDLIB = ("bisect", "collections", "dataclasses", "enum", "fnmatch", "functools", "hashlib", "heapq")
PURE_STDLIB += ("itertools", "math", "operator", "re", "typing", "__future__", "datetime")
IMPURE_NAMES = frozenset({"open", "print", "input", "breakpoint", "__import__"})
IMPURE_ATTRIBUTES = frozenset({"now", "today", "utcnow"})  # of datetime's classes

# library: (the modules or rooms that may import it, why there). A library can be changed behind its door.
DOORS: dict[str, tuple[frozenset[str], str]] = {
    "asyncssh": (
        frozenset(
            {
                "orchestrator.apply.ssh",
                "orchestrator.trust.authority",
                "node_runtime.net.channel",
                "node_runtime.net.keys",
                "node_runtime.net.ssh",
            }
        ),
        "the protocol and the formats of its keys; it takes a third of a second to import",
    ),
    "networkx": (frozenset({"orchestrator.model.graph"}), "the graph questions; slow to import"),
    "yaml": (frozenset({"orchestrator.load.reader"}), "its surprises are dealt with in one place"),
    "jsonschema": (
        frozenset({"schemas.validate"}),
        "its messages are rewritten in one place; slow to import",
    ),
    "click": (frozenset({"orchestrator.cli", "node_runtime.cli"}), "only command lines speak to people"),
    "rich": (frozenset({"orchestrator.cli"}), "only command lines draw"),
    "watchdog": (
        frozenset({"node_runtime.disk.watcher"}),
        "its event mask and its silences are dealt with there",
    ),
    "apscheduler": (
        frozenset({"node_runtime.daemon.schedule"}),
        "the clock's surprises are dealt with there",
    ),
    "cronsim": (
        frozenset({"schemas.forms", "node_runtime.daemon.schedule"}),
        "what a schedule may say, and when it is due",
    ),
    "apsw": (frozenset({"node_runtime.disk"}), "one SQLite library a process, for the index alone"),
    "blake3": (frozenset({"node_runtime.disk"}), "content is hashed where it is read and written"),
    "pathspec": (
        frozenset({"schemas.forms", "node_runtime.replica.filters"}),
        "what a filter may say, and what it matches",
    ),
    "sqlite3": (frozenset(), "apsw brings its own SQLite, and two of them corrupt one database"),
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the programs, parsed, by its dotted name."""
    found = {}
    for program in PROGRAMS:
        for path in sorted((ROOT / program).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_bytes(), str(path))
    assert len(found) > 50, "the programs weren't found"
    return found


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in a module: late and type-only imports count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"line {node.lineno}: imports are absolute, so that they can be searched for"
            )
            assert node.module is not None
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, place: str) -> bool:
    """Whether a dotted name is `place` or lies below it."""
    return name == place or name.startswith(place + ".")


def room_of(name: str) -> str | None:
    """The room of the table that a module, or what is imported from it, belongs to."""
    return next((room for room in ROOMS if within(name, room)), None)


def modules_of(room: str) -> dict[str, ast.Module]:
    return {name: tree for name, tree in modules().items() if within(name, room)}


def test_every_module_belongs_to_a_room() -> None:
    homeless = [name for name in modules() if room_of(name) is None and name not in PROGRAMS]
    assert homeless == [], "give the new room a line in ROOMS, with its reason"
    assert [room for room in ROOMS if not modules_of(room)] == [], "these rooms are gone; so is their line"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_whom_it_may(room: str) -> None:
    allowed, reason = ROOMS[room]
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, tree in modules_of(room).items()
        for line, imported in imports(tree)
        if imported.partition(".")[0] in PROGRAMS
        and not any(within(imported, each) for each in (room, VERSION, *allowed))
    ]
    assert wrong == [], reason


@pytest.mark.parametrize("program", PROGRAMS[1:])
def test_a_program_s_own_package_imports_nothing(program: str) -> None:
    assert list(imports(modules()[program])) == [], "whatever stands here is loaded by every command"


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_touches_nothing(room: str) -> None:
    wrong = []
    for name, tree in modules_of(room).items():
        for line, imported in imports(tree):
            library = imported.partition(".")[0]
            if library not in (*PURE_LIBRARIES, *PURE_STDLIB, *PROGRAMS):
                wrong.append(f"{name}:{line} imports {imported}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in IMPURE_NAMES:
                wrong.append(f"{name}:{node.lineno} uses {node.id}")
            if isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES:
                wrong.append(f"{name}:{node.lineno} reads the clock")
    assert wrong == [], "no I/O, clock or randomness: `now` and entropy are arguments"


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    doors, reason = DOORS[library]
    users = {
        name
        for name, tree in modules().items()
        if any(within(imported, library) for _, imported in imports(tree))
    }
    assert {user for user in users if not any(within(user, door) for door in doors)} == set(), reason
    unused = {door for door in doors if not any(within(user, door) for user in users)}
    assert unused == set(), "nobody goes through this door any more; take it out of DOORS"


def test_no_module_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_bytes().splitlines())
        for program in PROGRAMS
        for path in (ROOT / program).rglob("*.py")
    }
    long = {name: count for name, count in lines.items() if count > MAX_MODULE_LINES}
    assert long == {}, f"a module of more than {MAX_MODULE_LINES} lines decides more than one thing"


def test_no_function_is_too_long() -> None:
    long = {
        f"{name}.{node.name}": count
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for count in [(node.end_lineno or node.lineno) - node.lineno + 1]
        if count > MAX_FUNCTION_LINES
    }
    assert long == {}, f"a function of more than {MAX_FUNCTION_LINES} lines can't be held in mind"
