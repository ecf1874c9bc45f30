"""Moves: which deletes and creates are renames, and that carrying them out gives the same tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.moves import COMPARISONS_PER_ENTRY, Move, copy_order, plan_moves
from node_runtime.replica.path import key, parent
from tests.support.trees import A, B, directory, file, link

Tree = dict[bytes, Entry]


def tree(text: str, by: int = A) -> Tree:
    """ "d/ d/x=text l@target": a directory, a file with its content, a link. Parents are added."""
    found: Tree = {}
    for word in text.split():
        if "=" in word:
            path, _, content = word.partition("=")
            entry = file(path, content, {by: 1})
        elif "@" in word:
            path, _, target = word.partition("@")
            entry = link(path, target, {by: 1})
        else:
            entry = directory(word.rstrip("/"), {by: 1})
        found[entry.path] = entry
        above = parent(entry.path)
        while above and above not in found:
            found[above] = directory(above.decode(), {by: 1})
            above = parent(above)
    return found


def below(old: Tree) -> Callable[[bytes], Iterator[Entry]]:
    """The index's view of a tree: all below a directory, in index order."""
    order = sorted(old, key=key)
    return lambda path: (old[p] for p in order if p.startswith(path + b"/"))


def planned(old: Tree, new: Tree) -> list[Move]:
    deleted = {path: entry for path, entry in old.items() if path not in new}
    created = {path: entry for path, entry in new.items() if path not in old}
    return list(plan_moves(deleted, created, below(old)).moves)


def shown(old: str, new: str) -> list[str]:
    """The plan as "source>target", directories with a "/"."""
    marks = {True: "/", False: ""}
    return [
        f"{move.source.decode()}{marks[move.directory]}>{move.target.decode()}{marks[move.directory]}"
        for move in planned(tree(old), tree(new, by=B))
    ]


def test_a_renamed_file() -> None:
    assert shown("a=1 b=2", "c=1 b=2") == ["a>c"]


def test_a_renamed_directory_is_one_move_however_deep() -> None:
    assert shown("d/x=1 d/s/y=2 d/s/t/", "e/x=1 e/s/y=2 e/s/t/") == ["d/>e/"]


def test_a_directory_moved_under_a_new_one() -> None:
    assert shown("d/x=1 d/y=2", "new/place/d/x=1 new/place/d/y=2") == ["d/>new/place/d/"]


def test_a_subdirectory_that_leaves_a_directory_that_stays() -> None:
    assert shown("d/s/x=1 d/keep=2", "s/x=1 d/keep=2") == ["d/s/>s/"]


def test_what_is_new_in_the_new_place_is_no_hindrance() -> None:
    assert shown("d/x=1", "e/x=1 e/a=new e/z=new") == ["d/>e/"]


def test_what_stays_behind_forbids_moving_the_directory() -> None:
    assert shown("d/x=1 d/y=2 d/stays=3", "e/x=1 e/y=2 d/stays=3") == ["d/x>e/x", "d/y>e/y"]


def test_a_child_that_is_local_and_unheard_of_forbids_moving_the_directory() -> None:
    old, new = tree("d/x=1 d/y=2"), tree("e/x=1 e/y=2")
    deleted = {path: entry for path, entry in old.items() if path != b"d/y"}
    assert [move.directory for move in plan_moves(deleted, new, below(old)).moves] == [False]


def test_an_edited_child_sends_the_others_one_by_one() -> None:
    assert shown("d/x=1 d/s/y=2", "e/x=edited e/s/y=2") == ["d/s/>e/s/"]


def test_links_witness_where_a_directory_was() -> None:
    assert shown("d/l@target", "e/l@target") == ["d/>e/"]


def test_a_link_by_itself_is_made_anew() -> None:
    assert shown("l@target", "m@target") == []


def test_empty_files_and_empty_directories_are_made_anew() -> None:
    assert shown("a= d/ e/s/", "b= f/ g/s/") == []


def test_an_empty_file_goes_along_in_its_directory() -> None:
    assert shown("d/empty= d/x=1", "e/empty= e/x=1") == ["d/>e/"]


def test_equal_content_prefers_the_same_name() -> None:
    assert shown("p=1 q=1", "s/q=1 s/r=1") == ["q>s/q", "p>s/r"]


def test_twins_go_one_each() -> None:
    assert shown("a/x=1 b/x=1", "c/x=1 d/x=1") == ["a/>c/", "b/>d/"]


def test_one_source_serves_one_target() -> None:
    assert shown("a=1", "b=1 c=1") == ["a>b"]


def test_a_directory_comes_before_what_goes_into_it() -> None:
    assert shown("d/x=1 z/s/y=2 w=3", "e/x=1 e/s/y=2 e/w=3 z/") == ["d/>e/", "z/s/>e/s/", "w>e/w"]


def test_nothing_moves_into_what_is_deleted() -> None:
    deleted = tree("d/x=1 d/y=2")
    created = {e.path: e for e in tree("d/e/x=1 d/e/y=2").values() if e.path not in deleted}
    assert plan_moves(deleted, created, below(deleted)).moves == ()


def test_nothing_to_pair() -> None:
    assert plan_moves({}, tree("a=1"), below({})).moves == ()
    assert plan_moves(tree("a=1"), {}, below(tree("a=1"))).moves == ()


def test_comparing_has_a_budget() -> None:
    """Every new directory resembles every old one but for one late child: no tree makes the work grow."""
    old = tree(" ".join(f"old{d}/f{n}=same{n} old{d}/z=old" for d in range(30) for n in range(30)))
    new = tree(" ".join(f"new{d}/f{n}=same{n} new{d}/z=new" for d in range(30) for n in range(30)))
    compared = 0

    def children(path: bytes) -> Iterable[Entry]:
        nonlocal compared
        for entry in below(old)(path):
            compared += 1
            yield entry

    plan = plan_moves(old, new, children)
    assert compared <= COMPARISONS_PER_ENTRY * (len(old) + len(new)) + 1
    assert len(plan.moves) == 900, "what can't go whole goes file by file"


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from(["", "1", "2", "3"])
trees = st.dictionaries(paths, contents, max_size=8).map(
    lambda files: tree(
        " ".join(f"{p}={c}" for p, c in files.items() if not any(q.startswith(p + "/") for q in files))
    )
)


@settings(max_examples=300, deadline=None)
@given(trees, trees)
def test_carrying_a_plan_out_brings_the_tree_nearer_and_breaks_nothing(old: Tree, new: Tree) -> None:
    there = dict(old)
    for move in planned(old, new):
        assert move.target not in there
        assert there[move.source].same_content(new[move.target])
        if any(e.kind is Kind.FILE and move.target.startswith(p + b"/") for p, e in there.items()):
            continue  # a file still stands where the parent is to be: this rename fails, and is done without
        prefix = move.source + b"/"
        for path in [p for p in there if p == move.source or (move.directory and p.startswith(prefix))]:
            target = move.target + path[len(move.source) :]
            assert path not in new, "only what goes is moved"
            assert there[path].same_content(new[target])
            assert target not in old
            there[target] = there.pop(path)
    leftover = {path for path in there if path not in new}
    assert leftover <= {path for path in old if path not in new}


def test_nothing_is_overwritten_before_it_was_copied() -> None:
    rotated = [file(f"log.{n}", str(n - 1), {A: 2}) for n in (1, 2, 3)]
    sources = {b"log.1": b"log", b"log.2": b"log.1", b"log.3": b"log.2"}
    assert [entry.path for entry in copy_order(rotated, sources)] == [b"log.3", b"log.2", b"log.1"]


def test_a_circle_of_copies_loses_one_source_alone() -> None:
    names = [b"a", b"b", b"c", b"d"]
    sources: dict[bytes, bytes | None] = dict(zip(names, [*names[1:], names[0]], strict=True))
    order = [entry.path for entry in copy_order([file(n.decode(), "", {A: 2}) for n in names], sources)]
    lost = [path for place, path in enumerate(order) if sources[path] in order[:place]]
    assert sorted(order) == names
    assert len(lost) == 1
