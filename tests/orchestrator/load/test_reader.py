"""YAML to data with places: what is taken, what is refused, and that nothing brings the interpreter down."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.load.reader import MAX_DEPTH, RawDocument, read_yaml
from schemas.errors import Problem


def one(text: str) -> RawDocument:
    documents, problems = read_yaml(text, "f.yaml")
    assert problems == []
    assert len(documents) == 1
    return documents[0]


def refused(text: str) -> Problem:
    """The one problem of a text, from wherever it was found."""
    documents, problems = read_yaml(text, "f.yaml")
    problems = problems + [each for document in documents for each in document.problems]
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ('"12"', "12"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("yes", "yes"),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("2026-11-22", "2026-11-22"),
        ("9" * 5000, "9" * 5000),
        ("hq-a:/data", "hq-a:/data"),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says_or_a_text(written: str, value: Any) -> None:
    found = one(f"a: {written}\n").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_key_is_a_text() -> None:
    assert one("on: 1\n12: 2\nnull: 3\ntrue: 4\n").value == {"on": 1, "12": 2, "null": 3, "true": 4}


def test_places_count_from_one_and_fall_back_to_an_ancestor() -> None:
    places = one("# c\nspec:\n  graphs:\n    - name: g\n      between: [a, 'b']\n").places
    at = [
        str(places.at(pointer))
        for pointer in [(), ("spec",), ("spec", "graphs", 0), ("spec", "graphs", 0, "name")]
    ]
    assert at == ["f.yaml:2:1", "f.yaml:3:3", "f.yaml:4:7", "f.yaml:4:13"]
    assert str(places.at(("spec", "graphs", 0, "between", 1))) == "f.yaml:5:20"
    assert str(places.of_key(("spec", "graphs", 0, "between"))) == "f.yaml:5:7"
    assert str(places.at(("spec", "graphs", 0, "nothing", 3))) == "f.yaml:4:7"
    assert str(places.at(("spec", "graphs", 7))) == "f.yaml:4:5"


def test_columns_count_characters() -> None:
    assert str(one("{ключ: '😀', x: 1}").places.at(("x",))) == "f.yaml:1:16"


def test_several_documents_have_their_own_places() -> None:
    documents, problems = read_yaml("a: 1\n---\nb: 2\n---\n# nothing\n", "f.yaml")
    assert problems == []
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}, None]
    assert [document.empty for document in documents] == [False, False, True]
    assert str(documents[1].places.at(("b",))) == "f.yaml:3:4"


def test_aliases_and_merges() -> None:
    raw = one("base: &b {x: 1, y: 2}\nsame: *b\nmore: {<<: *b, y: 3}\nboth: {<<: [{x: 9}, *b]}\n")
    assert raw.value["same"] == {"x": 1, "y": 2}
    assert raw.value["more"] == {"x": 1, "y": 3}
    assert raw.value["both"] == {"x": 9, "y": 2}
    assert str(raw.places.at(("same", "y"))) == "f.yaml:1:20"
    assert str(raw.places.of_key(("same",))) == "f.yaml:2:1"
    assert str(raw.places.at(("more", "x"))) == "f.yaml:1:14"
    assert one('"<<": 1\n').value == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "hint"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", "3:1", 'the key "a" is given twice', "line 1"),
        ("a: &x [*x]\n", "cyclic-alias", "1:8", "itself", "outside"),
        ("a: &x {b: {c: *x}}\n", "cyclic-alias", "1:15", "itself", "outside"),
        ("a: &defaults 1\nb: *default\n", "unknown-alias", "2:4", '"&default"', "*defaults"),
        ("exclude: *.tmp\n", "syntax", "1:10", 'start with "*"', "quotes"),
        ("[", "syntax", "1:2", "isn't closed", "bracket"),
        ("a: {b: [1,\n\n\n", "syntax", "1:11", "isn't closed", "bracket"),
        ("? [a]\n: b\n", "bad-key", "1:3", "a key can't be", "quote"),
        ("a: &l [1]\n*l : b\n", "bad-key", "2:1", "a key can't be", "quote"),
        ("a: !secret x\n", "unknown-tag", "1:4", "!secret", "leave it out"),
        (
            "a: !!python/object:os.system x\n",
            "unknown-tag",
            "1:4",
            "!!python/object:os.system",
            "leave it out",
        ),
        ("a: {<<: 3}\n", "bad-merge", "1:9", "takes a mapping", "*common"),
        ("a:\n\t- b\n", "syntax", "2:1", "tab", "spaces"),
        ("a: 1\n\tb: 2\n", "syntax", "2:1", "tab", "spaces"),
        ("a: @x\n", "syntax", "1:4", '"@"', "quotes"),
        ("a: `x\n", "syntax", "1:4", '"`"', "quotes"),
        ("a: b: c\n", "syntax", "1:5", "a key stands where none can", "quote"),
        ("a: 1\n  b: 2\n", "syntax", "2:4", "indented too deep", "align"),
        ("key: - a\n", "syntax", "1:6", '"- "', "line below"),
        ("a: {b: 1\n", "syntax", "1:4", '"{" isn\'t closed', '"}"'),
        ("a: [1, 2\nb: 1\n", "syntax", "1:4", '"[" isn\'t closed', '"]"'),
        ("a: 'x\n", "syntax", "1:4", "a quote isn't closed", "closing"),
        ('a: "\\q"\n', "syntax", "1:5", "escape", "twice"),
        ('a: "b" c\n', "syntax", "1:8", "neither a key", "quotes"),
        (" a: 1\nb: 2\n", "syntax", "2:1", "end of the document", "indentation"),
        ("- a\nb: 1\n", "syntax", "2:1", "list goes on", "indentation"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(
    text: str, code: str, place: str, message: str, hint: str
) -> None:
    problem = refused(text)
    assert problem.code == code
    assert str(problem.place) == f"f.yaml:{place}"
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, "{a: " * 1_000_000, "".join(f"{' ' * n}a:\n" for n in range(2_000))]
)
def test_no_depth_brings_the_interpreter_down(text: str) -> None:
    assert refused(text).code == "too-deep"


def test_the_depth_limit_is_exact() -> None:
    assert one("[" * MAX_DEPTH + "]" * MAX_DEPTH).problems == []
    assert refused("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).code == "too-deep"


def test_a_billion_laughs_are_counted_not_told() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    problem = refused("\n".join(lines))
    assert problem.code == "too-large"
    assert "aliases" in problem.message


def test_what_stands_before_an_error_is_kept() -> None:
    documents, problems = read_yaml("a: 1\n---\nb: [\n", "f.yaml")
    assert [document.value for document in documents] == [{"a": 1}]
    assert [problem.code for problem in problems] == ["syntax"]


PIECES = [
    "a",
    "b:",
    ": ",
    "- ",
    "\n",
    "  ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&x ",
    "*x",
    "<<",
    "!t ",
    "'",
    '"',
    "|\n",
    "?",
    "---\n",
    "...\n",
    "#",
    "%",
    "\\",
    "é",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_gives_documents_or_problems_with_places(text: str) -> None:
    documents, problems = read_yaml(text, "f.yaml")
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    for problem in problems + [each for document in documents for each in document.problems]:
        assert problem.place is not None
        assert 1 <= problem.place.line <= len(lines)
        assert problem.place.column >= 1
        assert problem.message
