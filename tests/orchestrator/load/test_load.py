"""Files and directories to typed documents: which are read, and that all problems are said at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.load import Loaded, load
from orchestrator.load.files import MAX_FILE_BYTES

HEAD = "apiVersion: syncgraph/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
Write = Callable[[str, str], Path]


def topology(spec: str = "spec: {}\n", name: str = "t") -> str:
    return HEAD.format(kind="Topology", name=name) + spec


def inventory(spec: str = "spec: {}\n", name: str = "i") -> str:
    return HEAD.format(kind="Inventory", name=name) + spec


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files below the working directory of the test."""
    monkeypatch.chdir(tmp_path)

    def _write(name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def codes(loaded: Loaded) -> list[str]:
    return [problem.code for problem in loaded.problems]


def said(loaded: Loaded) -> str:
    return "\n".join(map(str, loaded.problems))


def test_a_directory_gives_all_its_documents_sorted(write: Write) -> None:
    write("r/b.yaml", topology(name="b"))
    write("r/a/x.yml", topology(name="x") + "---\n" + inventory(name="y"))
    write("r/.git/z.yaml", topology(name="z"))
    write("r/.hidden.yaml", topology(name="h"))
    write("r/deploy.yaml", "apiVersion: apps/v1\nkind: Deployment\n")
    write("r/notes.txt", topology(name="n"))
    write("r/chart.yaml", "{{ .Values.broken }}: [")
    write("r/empty.yaml", "")
    os.symlink("..", "r/a/loop")
    loaded = load(["r"])
    assert said(loaded) == ""
    assert [each.document.metadata.name for each in loaded.topologies] == ["b", "x"]
    assert [each.document.metadata.name for each in loaded.inventories] == ["y"]
    assert loaded.topologies[1].file == "r/a/x.yml"


def test_a_file_is_read_once_however_it_is_named(write: Write) -> None:
    write("r/t.yaml", topology("spec: {inventory: [i.yaml, ./i.yaml]}\n"))
    write("r/i.yaml", inventory())
    os.symlink("i.yaml", "r/j.yaml")
    loaded = load(["r", "r/t.yaml", Path("r/i.yaml")])
    assert said(loaded) == ""
    assert (len(loaded.topologies), len(loaded.inventories)) == (1, 1)


def test_inventories_are_found_beside_the_topology(write: Write) -> None:
    write("r/t.yaml", topology("spec: {inventory: [../shared/i.yaml]}\n"))
    write("shared/i.yaml", inventory() + "---\n" + topology(name="another"))
    loaded = load(["r/t.yaml"])
    assert said(loaded) == ""
    assert [each.file for each in loaded.inventories] == ["shared/i.yaml"]
    assert [each.document.metadata.name for each in loaded.topologies] == ["t"]


def test_a_missing_inventory_is_said_where_it_is_named(write: Write) -> None:
    write("r/t.yaml", topology("spec:\n  inventory: [officez.yaml, t2.yaml, .]\n  graphs: 3\n"))
    write("r/offices.yaml", inventory())
    write("r/t2.yaml", topology(name="t2"))
    loaded = load(["r/t.yaml"])
    assert codes(loaded) == ["no-such-file", "no-inventory", "no-such-file", "wrong-type"]
    assert str(loaded.problems[0].place) == "r/t.yaml:5:15"
    assert 'did you mean "offices.yaml"?' in loaded.problems[0].hint


@pytest.mark.parametrize(
    ("text", "code", "line", "hint"),
    [
        ("", "empty-document", 1, "syncgraph init"),
        ("# nothing\n---\n", "empty-document", 1, "syncgraph init"),
        ("- a\n", "wrong-type", 1, "apiVersion: syncgraph/v1"),
        ("hello\n", "wrong-type", 1, "apiVersion: syncgraph/v1"),
        (
            "apiVersion: syncgraph/v1\nmetadata: {name: t}\nspec: {}\n",
            "missing-key",
            1,
            "Topology or Inventory",
        ),
        ("kind: Topology\nmetadata: {name: t}\nspec: {}\n", "missing-key", 1, "apiVersion: syncgraph/v1"),
        (
            "apiVersion: syncgraph/v2\nkind: Topology\nmetadata: {name: t}\nspec: {}\n",
            "unknown-version",
            1,
            "v1",
        ),
        ("apiVersion: apps/v1\nkind: Topology\nmetadata: {name: t}\nspec: {}\n", "unknown-version", 1, "v1"),
        ("apiVersion: syncgraph/v1\nkind: Topologie\n", "unknown-kind", 2, 'did you mean "Topology"'),
        ("apiVersion: syncgraph/v1\nkind: [Topology]\n", "unknown-kind", 2, "Topology, Inventory"),
    ],
)
def test_a_named_file_must_hold_documents_of_ours(
    write: Write, text: str, code: str, line: int, hint: str
) -> None:
    loaded = load([write("x.yaml", text)])
    assert codes(loaded) == [code]
    place = loaded.problems[0].place
    assert place is not None
    assert (place.file, place.line) == ("x.yaml", line)
    assert hint in loaded.problems[0].hint


def test_in_a_directory_a_wrong_version_is_still_ours(write: Write) -> None:
    write("r/a.yaml", "apiVersion: syncgraph/v9\nkind: Topology\nmetadata: {name: t}\nspec: {}\n")
    write("r/b.yaml", "kind: Inventory\nmetadata: {name: t}\nspec: {}\n")
    write("r/c.yaml", "apiVersion: syncgraph/v1\nkind: Topology\nspec: [\n")
    assert codes(load(["r"])) == ["unknown-version", "missing-key", "syntax"]


@pytest.mark.parametrize(
    ("content", "code", "place", "value"),
    [
        (b"a: 1\nb: \xff\n", "not-utf-8", "2:4", "0xFF"),
        ("a: é".encode("latin-1"), "not-utf-8", "1:4", "0xE9"),
        ("a: 1".encode("utf-16"), "not-utf-8", "1:1", ""),
        (b"a: 1\n# \x00\n", "control-character", "2:3", "U+0000"),
        (b"a: \x1b[31m\n", "control-character", "1:4", "U+001B"),
    ],
)
def test_only_clean_utf_8_is_read(write: Write, content: bytes, code: str, place: str, value: str) -> None:
    path = write("x.yaml", "")
    path.write_bytes(content)
    loaded = load([path])
    assert codes(loaded) == [code]
    assert str(loaded.problems[0].place) == f"x.yaml:{place}"
    assert loaded.problems[0].value == value


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(write: Write) -> None:
    path = write("x.yaml", "")
    path.write_bytes(b"\xef\xbb\xbf" + topology("spec: {x: 1}\n").replace("\n", "\r\n").encode())
    assert str(load([path]).problems[0].place) == "x.yaml:4:8"


def test_what_is_no_file_is_refused_at_once(write: Write) -> None:
    write("offices.yaml", inventory())
    os.mkfifo("pipe.yaml")
    os.mkdir("nothing")
    loaded = load(["pipe.yaml", "ofices.yaml", "/dev/zero", "nothing"])
    assert sorted(codes(loaded)) == ["no-such-file", "not-a-file", "not-a-file", "nothing-found"]
    assert 'did you mean "offices.yaml"?' in said(loaded)


def test_a_huge_file_is_refused_unread(write: Write) -> None:
    path = write("x.yaml", "")
    with path.open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert codes(load([path])) == ["too-large"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(write: Write) -> None:
    path = write("x.yaml", topology())
    path.chmod(0)
    assert codes(load([path])) == ["not-readable"]


def test_all_problems_of_a_document_come_at_once_in_order(write: Write) -> None:
    spec = """\
spec:
  defaults:
    sync: {mode: cont, debounce: 2, rescan: 1:30}
    transfer: {rate: 1Gbit}
    sync: {}
  graphs:
    - {name: g, shape: full-mesh, memebers: ["a:/x"]}
    - {name: h, shape: chain, nodes: ["a:x"], hub: "b:/x"}
"""
    loaded = load([write("x.yaml", topology(spec, name="T_1"))])
    assert [(str(each.place), each.code) for each in loaded.problems] == [
        ("x.yaml:3:18", "bad-name"),
        ("x.yaml:6:18", "unknown-value"),
        ("x.yaml:6:34", "bad-duration-text"),
        ("x.yaml:6:45", "bad-duration-text"),
        ("x.yaml:7:5", "not-supported-yet"),
        ("x.yaml:8:5", "duplicate-key"),
        ("x.yaml:10:35", "unknown-key"),
        ("x.yaml:11:39", "bad-endpoint-range"),
        ("x.yaml:11:47", "misplaced-key"),
    ]
    assert loaded.topologies == ()


def test_unquoted_scalars_are_texts_where_texts_belong(write: Write) -> None:
    labels = {"rack": "010", "unit": "7", "canary": "true", "country": "no", "day": "2026-11-22"}
    written = ", ".join(f"{key}: {value}" for key, value in labels.items())
    spec = f"spec: {{nodes: [{{name: 12, labels: {{{written}}}}}]}}\n"
    loaded = load([write("x.yaml", inventory(spec, name="2026"))])
    assert said(loaded) == ""
    document = loaded.inventories[0].document
    assert document.metadata.name == "2026"
    assert document.spec.nodes[0].name == "12"
    assert document.spec.nodes[0].labels == labels


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("labels: {canary: True}", 'quote it if it is meant as a text: "True"'),
        ("labels: {canary: }", "leave the key out"),
        ("labels: {canary: null}", "leave the key out"),
        ('ssh: {port: "22"}', "leave the quotes out"),
        ("ssh: {port: 022}", "octal"),
        ("ssh: {port: 1_000}", "underscores"),
        ("ssh: {port: 0x16}", "hexadecimal"),
        ("ssh: {port: 1:30}", "base 60"),
        ("access: on", "true or false"),
        ("address: 2026-11-22x y", "date"),
    ],
)
def test_what_yaml_would_misread_is_refused_with_a_hint(write: Write, written: str, hint: str) -> None:
    loaded = load([write("x.yaml", inventory(f"spec: {{nodes: [{{name: a, {written}}}]}}\n"))])
    assert len(loaded.problems) == 1
    assert hint in loaded.problems[0].hint


def test_a_range_of_five_thousand_stays_one_entry(write: Write) -> None:
    spec = 'spec: {nodes: [{name: "branch-[0001:5000]", address: "$(name).example.net"}]}\n'
    loaded = load([write("x.yaml", inventory(spec))])
    assert said(loaded) == ""
    assert len(loaded.inventories[0].document.spec.nodes) == 1


def test_a_shared_part_is_at_fault_once(write: Write) -> None:
    spec = """\
spec:
  defaults: &d {sync: {mode: cont}}
  graphs:
    - {<<: *d, name: a, shape: chain, nodes: ["a:/x", "b:/x"]}
    - {<<: *d, name: b, shape: ring, nodes: ["a:/x", "b:/x"]}
"""
    loaded = load([write("x.yaml", topology(spec))])
    assert [str(each.place) for each in loaded.problems] == ["x.yaml:5:30"]


def test_a_shared_part_may_stand_under_several_graphs(write: Write) -> None:
    spec = """\
spec:
  graphs:
    - &one {name: a, shape: chain, nodes: &n ["a:/x", "b:/x"], sync: &s {mode: once}}
    - {name: b, shape: ring, nodes: *n, sync: *s}
    - {<<: *one, name: c}
"""
    loaded = load([write("x.yaml", topology(spec))])
    assert said(loaded) == ""
    graphs = loaded.topologies[0].document.spec.graphs
    assert [graph.name for graph in graphs] == ["a", "b", "c"]
    assert {graph.nodes for graph in graphs} == {("a:/x", "b:/x")}
    assert str(loaded.topologies[0].places.at(("spec", "graphs", 1, "nodes", 0))) == "x.yaml:6:47"
