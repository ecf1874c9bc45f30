"""A peer that lies: whatever it says, the session ends or goes on, and nothing outside its due is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from node_runtime.daemon.talk import Manner
from node_runtime.errors import NodeError
from node_runtime.exchange import messages as m
from node_runtime.exchange.session import SessionClosed
from node_runtime.replica.entry import Entry, Kind
from schemas.plans import FilterRule
from tests.support.engine import (
    HandPeer,
    against,
    link,
    one_way,
    outcome,
    pair_of_sessions,
    sites,
    tree_of,
    two_way,
)

pytestmark = pytest.mark.anyio

HERE: dict[str | bytes, str | bytes | Path | None] = {"x": "1", "d/y": "2", "secret.key": "hidden"}
V = ((77, 1_000),)


def entry(path: bytes = b"new", text: bytes = b"", **changes: object) -> Entry:
    """A new file with this text, as an honest peer would offer it; less what is changed."""
    fields: dict[str, object] = {
        "path": path,
        "kind": Kind.FILE,
        "deleted": False,
        "size": len(text),
        "mtime_ns": 0,
        "mode": 0o644,
        "content": blake3(text).digest(),
        "version": V,
        "metadata_version": V,
        "origin": "left",
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


def everything(tmp_path: Path) -> dict[bytes, tuple[str, bytes, int]]:
    return {
        path: seen
        for path, seen in tree_of(tmp_path).items()
        if b".db" not in path and b".syncgraph" not in path
    }


BAD_PATHS = [
    b"",
    b"/etc/x",
    b"..",
    b"../x",
    b"d/../../x",
    b"d//x",
    b".",
    b"d/.",
    b"a\0b",
    b"x" * 300,
    b".syncgraph/x",
    b".syncgraph",
]
BAD_ENTRIES = [
    *(entry(path) for path in BAD_PATHS),
    *(entry(path, kind=Kind.DIRECTORY, content=b"") for path in BAD_PATHS),
    *(entry(path, deleted=True, content=b"", mode=0) for path in BAD_PATHS),
    *(entry(path, deleted=True, content=b"", mode=0, version=(), metadata_version=()) for path in BAD_PATHS),
    entry(mode=0o100644),
    entry(size=-1),
    entry(content=b"", size=0),
    entry(version=()),
    entry(version=((5, 1), (5, 1))),
    entry(version=((5, -1),)),
    entry(version=((5, 3), (4, 1))),
    entry(metadata_version=()),
    entry(mtime_ns=2**63 - 1 + 1),
    entry(origin=""),
    entry(origin="x\ny"),
    entry(kind=Kind.SYMLINK, content=b"a\0b"),
    entry(kind=Kind.SYMLINK, content=b""),
    entry(deleted=True),
]  # fmt: skip


@pytest.mark.parametrize("bad", range(len(BAD_ENTRIES)))
async def test_a_bad_entry_ends_the_session_and_changes_nothing(tmp_path: Path, bad: int) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        right.write(HERE)
        before = everything(tmp_path)
        async with against(right, one_way(left, right, target_changes="keep")) as (peer, running):
            await peer.hear(m.Resume)
            await peer.say(m.Entries([BAD_ENTRIES[bad]], 5), m.IndexEnd(5))
            assert "refused" in await peer.refusal()
            [ended] = await outcome([running])
            assert isinstance(ended, NodeError)
        assert everything(tmp_path) == before


UNASKED: list[tuple[str, m.AnyMessage]] = [
    ("target", m.Want([m.Wanted(1, b"x", blake3(b"1").digest(), 1, [(0, 1)])])),
    ("target", m.Resume(0)),
    ("target", m.Challenge([b"x"])),
    ("target", m.Answers([])),
    ("target", m.Ack(1_000_000_000)),
    ("source", m.Entries([], 1)),
    ("source", m.IndexEnd(1)),
    ("source", m.Answers([])),
    ("source", m.Blocks([m.Block(1, 0, b"x")])),
    ("source", m.Unavailable(1, "no", False)),
    ("source", m.Resume(-1)),
    ("source", m.Resume(10**12)),
    ("source", m.Challenge([b"../x"])),
    ("source", m.Ack(10**12)),
    ("source", m.Ack(1)),
    ("source", m.Want([m.Wanted(n, b"x", b"", 1, [(0, 1)]) for n in range(10_000)])),
]


@pytest.mark.parametrize(
    ("end", "message"), UNASKED, ids=lambda value: value if isinstance(value, str) else type(value).__name__
)
async def test_what_has_no_place_on_this_edge_ends_the_session(
    tmp_path: Path, end: str, message: m.AnyMessage
) -> None:
    """`end` is the real one's."""
    async with sites(tmp_path, "left", "right") as (left, right):
        real = left if end == "source" else right
        real.write(HERE)
        before = everything(tmp_path)
        async with against(real, one_way(left, right, target_changes="keep")) as (peer, running):
            await peer.say(message)
            assert await peer.refusal()
            [ended] = await outcome([running])
            assert isinstance(ended, NodeError)
        assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": 99},
        {"edge": "t/g/another"},
        {"edge_digest": "0" * 64},
        {"end": "target"},
        {"replica_id": 2**63},
        {"replica_id": -1},
        {"max_seq": 2**63},
        {"index_id": bytes(1_000)},
        {"node": "someone-else"},
    ],
    ids=lambda change: f"{change}"[:30],
)
async def test_a_greeting_for_something_else_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        plan = one_way(left, right)
        near, far = await pair_of_sessions()
        running = asyncio.create_task(link(plan, "target", right, near, Manner()).run())
        peer = HandPeer(plan, "source", far)
        await peer.say(msgspec.structs.replace(peer.hello, **change))
        assert await peer.refusal()
        assert isinstance((await outcome([running]))[0], NodeError)
        far.close()


async def test_greeting_twice_and_not_at_all(tmp_path: Path) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, running),
    ):
        await peer.say(peer.hello)
        assert "greeted twice" in await peer.refusal()
        await outcome([running])


@pytest.mark.parametrize(
    "path",
    [b"../outside", b"/etc/passwd", b"a\0b", b".syncgraph/staging", b"secret.key", b"", b"way/out", b"d"],
)
async def test_no_content_leaves_that_the_edge_does_not_offer(tmp_path: Path, path: bytes) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write(HERE)
        left.write({"way": tmp_path})
        (tmp_path / "outside").write_text("private")
        (tmp_path / "out").write_text("private")
        plan = one_way(left, right, filters=(FilterRule("exclude", "*.key"),))
        async with against(left, plan) as (peer, _):
            await peer.say(m.Resume(0))
            await peer.say(
                m.Want(
                    [m.Wanted(1, path, blake3(b"private").digest(), len("private"), [(0, len("private"))])]
                )
            )
            answer: m.Unavailable = await peer.hear(m.Unavailable)
            assert answer.request == 1
            await peer.say(
                m.Want([m.Wanted(2, b"x", blake3(b"1").digest(), 1, [(0, 1)])])
            )  # an honest one still works
            sent: m.Blocks = await peer.hear(m.Blocks)
            assert sent.blocks == [m.Block(2, 0, b"1")]


async def test_excluded_paths_are_not_offered(tmp_path: Path) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write(HERE)
        plan = one_way(left, right, filters=(FilterRule("exclude", "*.key"),))
        async with against(left, plan) as (peer, _):
            await peer.say(m.Resume(0))
            offered: m.Entries = await peer.hear(m.Entries)
            assert [each.path for each in offered.entries] == [b"d", b"d/y", b"x"]


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(-1, 1)],
        [(5, 1)],
        [(10**15, 0)],
        [(0, -1)],
        [(0, 2)],
        [(1, 0), (0, 1)],
        [(0, 1), (0, 1)],
        [(0, 0)] * 5000,
    ],
)
async def test_ranges_outside_a_file(tmp_path: Path, ranges: list[tuple[int, int]]) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write(HERE)
        async with against(left, one_way(left, right)) as (peer, _):
            await peer.say(m.Resume(0), m.Want([m.Wanted(1, b"x", b"", 1, ranges)]))
            assert (await peer.hear(m.Unavailable)).request == 1


async def _offer_new(peer: HandPeer, content: bytes) -> m.Wanted:
    await peer.hear(m.Resume)
    await peer.say(m.Entries([entry(b"new", content)], 5), m.IndexEnd(5))
    want: m.Want = await peer.hear(m.Want)
    return want.files[0]


LIES: dict[str, Callable[[m.Wanted, bytes], list[m.Block]]] = {
    "other bytes": lambda w, c: [m.Block(w.request, 0, bytes(len(c)))],
    "half, twice": lambda w, c: [m.Block(w.request, 0, c[: len(c) // 2])] * 2,
    "blocks out of a file's bounds": lambda w, c: [m.Block(w.request, -5, c)],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_wrong_content_is_never_placed(tmp_path: Path, lie: str, size: int) -> None:
    content = b"c" * size
    async with sites(tmp_path, "left", "right") as (left, right):
        right.write(HERE)
        before = right.tree()
        async with against(right, one_way(left, right, target_changes="keep")) as (peer, running):
            wanted = await _offer_new(peer, content)
            for attempts in range(1, 10):  # noqa: B007 - looked at behind the loop
                await peer.say(*(m.Blocks([block]) for block in LIES[lie](wanted, content)))
                said = await peer.hear((m.Challenge, m.InStep))
                if isinstance(said, m.InStep):
                    break  # given up: nothing is under way there
                await peer.say(m.Answers([entry(b"new", content)]))
                want: m.Want = await peer.hear(m.Want)
                wanted = want.files[0]
            assert 1 < attempts < 9
            assert not running.done()
        assert right.tree() == before


async def test_a_block_beyond_the_end_ends_the_session(tmp_path: Path) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, running),
    ):
        wanted = await _offer_new(peer, b"content")
        await peer.say(m.Blocks([m.Block(wanted.request, 4, b"content")]))
        assert "beyond" in await peer.refusal()
        assert isinstance((await outcome([running]))[0], NodeError)
        assert right.tree() == {}


async def test_blocks_nobody_asked_for_are_dropped(tmp_path: Path) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, _),
    ):
        wanted = await _offer_new(peer, b"content")
        await peer.say(m.Blocks([m.Block(999, 0, b"stray")]), m.Unavailable(998, "", False))
        await peer.say(m.Blocks([m.Block(wanted.request, 0, b"content")]))
        await peer.hear(m.Ack)
        assert right.texts() == {"new": "content"}


async def test_endless_entries_without_credit_end_the_session(tmp_path: Path) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, running),
    ):
        await peer.hear(m.Resume)
        flood = m.Entries([entry(b"%d" % n, b"never sent") for n in range(2_000)], 5)

        async def pour() -> None:
            while True:
                await peer.say(flood)

        with pytest.raises(SessionClosed):
            await asyncio.wait_for(pour(), 60)
        assert isinstance((await outcome([running]))[0], NodeError)


async def test_more_entries_in_one_message_than_a_batch_holds(tmp_path: Path) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, running),
    ):
        await peer.hear(m.Resume)
        await peer.say(m.Entries([entry(b"%d" % n) for n in range(m.MAX_BATCH_ENTRIES + 1)], 5))
        assert await peer.refusal()
        assert isinstance((await outcome([running]))[0], NodeError)
        assert right.tree() == {}


@pytest.mark.parametrize("second", [4, -1, 2**63])
async def test_a_sequence_that_goes_astray_ends_the_session(tmp_path: Path, second: int) -> None:
    async with (
        sites(tmp_path, "left", "right") as (left, right),
        against(right, one_way(left, right)) as (peer, running),
    ):
        await peer.hear(m.Resume)
        await peer.say(m.Entries([entry(b"a")], 9), m.Entries([entry(b"b")], second))
        assert await peer.refusal()
        assert isinstance((await outcome([running]))[0], NodeError)


async def test_a_peer_that_hangs_up_is_no_crash(tmp_path: Path) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        right.write(HERE)
        async with against(right, two_way(left, right)) as (peer, running):
            peer.session.close()
            [ended] = await outcome([running])
            assert isinstance(ended, SessionClosed)


async def test_an_acknowledgement_may_overtake_the_count(tmp_path: Path) -> None:
    """Honest all the same: rows can be read and offered before the index's own number follows."""
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write(HERE)
        async with against(left, one_way(left, right)) as (peer, _):
            await peer.say(m.Resume(0))
            offered: m.Entries = await peer.hear(m.Entries)
            left.replica.index.max_seq, counted = 0, left.replica.index.max_seq
            await peer.say(
                m.Ack(offered.seq), m.Want([m.Wanted(1, b"x", blake3(b"1").digest(), 1, [(0, 1)])])
            )
            assert (await peer.hear((m.Blocks, m.Bye))).blocks
            left.replica.index.max_seq = counted
