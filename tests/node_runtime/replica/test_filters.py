"""Filters: gitignore's syntax, and git itself as the judge."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from node_runtime.replica import filters
from node_runtime.replica.filters import BadFilter, Filters
from schemas.plans import FilterRule
from tests.support.entropy import Entropy


def rules(*patterns: str) -> Filters:
    """Rules as lines of a .gitignore: "!" includes."""
    return Filters(
        FilterRule("include", p[1:]) if p.startswith("!") else FilterRule("exclude", p) for p in patterns
    )


CASES: list[tuple[list[str], str, bool]] = [
    # rules, path ("/" at the end: a directory), excluded
    (["*.tmp"], "a.tmp", True),
    (["*.tmp"], "d/e/a.tmp", True),
    (["*.tmp"], "a.tmp.txt", False),
    (["/a"], "a", True),
    (["/a"], "d/a", False),
    (["d/a"], "d/a", True),
    (["d/a"], "e/d/a", False),
    (["**/d/a"], "e/d/a", True),
    (["build/"], "build/", True),
    (["build/"], "build", False),
    (["build/"], "src/build/x/y", True),
    (["d/**"], "d/", False),
    (["d/**"], "d/x", True),
    (["d/**", "!d/keep"], "d/keep", False),
    (["d/**/"], "d/", False),
    (["d/**/"], "d/x", False),
    (["d/**/"], "d/x/", True),
    (["*", "!*/", "!*.txt"], "d/a.txt", False),
    (["*", "!*/", "!*.txt"], "d/a.bin", True),
    (["*.log", "!keep.log"], "d/keep.log", False),
    (["!keep.log", "*.log"], "keep.log", True),
    (["d", "!d/keep"], "d/keep", True),  # below an excluded directory nothing comes back
    (["d", "!d"], "d/x", False),
    (["**/", "!d"], "d/e/f", True),  # the rule for a parent doesn't outweigh the one for the child
    (["#*#"], "#x#", True),  # in a plan a "#" is no comment
    (["[ab].c"], "b.c", True),
    (["[!ab].c"], "b.c", False),
    (["?"], "é", True),
    (["", "   "], "x", False),
]


@pytest.mark.parametrize(("patterns", "path", "excluded"), CASES)
def test_cases(patterns: list[str], path: str, excluded: bool) -> None:
    assert rules(*patterns).excludes(path.rstrip("/").encode(), path.endswith("/")) is excluded


def test_include_and_exclude_take_an_exclamation_mark_as_gitignore_does() -> None:
    named = Filters([FilterRule("exclude", "*"), FilterRule("include", "!x")])
    assert not named.excludes(b"!x", is_directory=False)
    assert named.excludes(b"x", is_directory=False)


def test_names_that_are_not_utf8_are_judged_byte_by_byte() -> None:
    assert rules("a?.tmp").excludes(b"a\xff.tmp", is_directory=False)
    assert not rules("a?.tmp").excludes(b"a\xff\xfe.tmp", is_directory=False)


def test_no_rules_exclude_nothing() -> None:
    assert Filters().is_empty
    assert not Filters().excludes(b"a/b", is_directory=False)
    assert not rules("*.tmp").is_empty


def test_what_is_not_gitignore_syntax_is_refused_by_name() -> None:
    with pytest.raises(BadFilter, match=r"\[z-a\]"):
        rules("*.tmp", "[z-a]")


def test_thousands_of_nested_directories_are_no_deeper_a_call() -> None:
    deep = b"/".join([b"d"] * 20_000)
    assert not rules("*.tmp").excludes(deep, is_directory=True)
    assert rules("/d/d/").excludes(deep, is_directory=True)


def test_a_full_cache_is_only_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_CACHED_DIRECTORIES", 3)
    judged = rules("x")
    for place in range(20):
        assert judged.excludes(b"d%d/x/y" % place, is_directory=False)
        assert not judged.excludes(b"d%d/y" % place, is_directory=False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git judges these patterns")
def test_verdicts_are_gits_own(tmp_path: Path) -> None:
    names = ["a", "b", "ab", "x.t"]
    directories = ["/".join(p) for depth in (1, 2) for p in itertools.product(names[:3], repeat=depth)]
    files = [f"{directory}/{name}f" for directory in ["", *directories] for name in names]
    files = [name.lstrip("/") for name in files]
    for directory in directories:
        (tmp_path / directory).mkdir()
    for name in files:
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    asked = "\0".join([*directories, *files]).encode()
    entropy = Entropy(7)
    for _ in range(60):
        patterns = [_pattern(entropy) for _ in range(1 + entropy.below(4))]
        (tmp_path / ".gitignore").write_text("\n".join(patterns) + "\n")
        said = subprocess.run(
            ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"],
            input=asked,
            stdout=subprocess.PIPE,
            check=False,  # 1 where nothing is ignored
        ).stdout
        judged = rules(*patterns)
        ours = {p for p in directories if judged.excludes(p.encode(), is_directory=True)}
        ours |= {p for p in files if judged.excludes(p.encode(), is_directory=False)}
        assert ours == set(filter(None, said.decode().split("\0"))), patterns


def _pattern(entropy: Entropy) -> str:
    atoms = ["a", "b", "*", "a*", "*f", "?", "**", "ab", "[ab]", "x.tf"]
    text = "/".join(entropy.pick(atoms) for _ in range(1 + entropy.below(3)))
    text = ("/" if entropy.chance(0.3) else "") + text + ("/" if entropy.chance(0.3) else "")
    return ("!" if entropy.chance(0.3) else "") + text
