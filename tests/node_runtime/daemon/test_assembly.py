"""Changed files: only what differs crosses, whatever happens, and wrong chunks are never believed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from node_runtime.daemon import source
from node_runtime.daemon.assembly import Assembly, Impossible
from node_runtime.daemon.talk import Manner
from node_runtime.disk.chunks import MIN_AVERAGE_BYTES, cut, longest, shortest
from node_runtime.disk.root import Root
from node_runtime.errors import PeerError
from node_runtime.exchange import messages as m
from node_runtime.exchange.session import SessionClosed
from node_runtime.replica.entry import CHUNK_DIGEST_BYTES, Entry, Kind
from node_runtime.replica.filters import Filters
from tests.support.engine import (
    Site,
    against,
    edge,
    link,
    one_way,
    outcome,
    pair_of_sessions,
    sites,
    sync,
    sync_cut_off,
)
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

SIZE = 12_000_000
CONTENT = random.Random(1).randbytes(SIZE)
NEW = random.Random(2).randbytes(300_000)
CHUNK = longest(MIN_AVERAGE_BYTES)

EDITS: dict[str, tuple[Callable[[bytes], bytes], int]] = {  # the edit, and how many bytes may cross
    "insert": (lambda c: NEW + c, len(NEW) + 2 * CHUNK),
    "insert in the middle": (lambda c: c[:5_000_001] + NEW + c[5_000_001:], len(NEW) + 2 * CHUNK),
    "append": (lambda c: c + NEW, len(NEW) + CHUNK),
    "overwrite": (lambda c: c[:6_000_000] + NEW + c[6_300_000:], len(NEW) + 2 * CHUNK),
    "truncate": (lambda c: c[:7_000_000], CHUNK),
    "remove": (lambda c: c[:1_000_000] + c[2_000_000:], 2 * CHUNK),
    "swap halves": (lambda c: c[6_000_000:] + c[:6_000_000], 3 * CHUNK),
    "twice": (lambda c: c + c, 2 * CHUNK),
    "flip": (lambda c: c[:9_000_000] + bytes([c[9_000_000] ^ 1]) + c[9_000_001:], CHUNK),
    "all new": (lambda c: random.Random(3).randbytes(SIZE), SIZE),
    "zeros": (lambda c: bytes(SIZE), 2 * CHUNK + SIZE),
}


async def in_step(left: Site, right: Site, content: bytes) -> None:
    left.write({"f": content})
    await sync(left, right, one_way(left, right))
    assert right.tree()[b"f"][1] == content


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("direction", ["one-way", "two-way"])
async def test_only_what_differs_crosses(tmp_path: Path, name: str, direction: str) -> None:
    change, most = EDITS[name]
    async with sites(tmp_path) as (left, right):
        await in_step(left, right, CONTENT)
        left.write({"f": change(CONTENT)})
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert right.tree() == left.tree()
        assert theirs.bytes_on_wire <= most
        assert (theirs.files, theirs.failed) == (1, ())
        assert right.kept() == {CONTENT}


async def test_small_files_cross_whole(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        await in_step(left, right, CONTENT[:200_000])
        left.write({"f": CONTENT[:200_001]})
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.bytes_on_wire == 200_001


async def test_many_changed_files_beside_many_new_ones(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({f"d/{n}": CONTENT[n * 700_000 :][:700_000] for n in range(15)})
        await sync(left, right, one_way(left, right))
        left.write({f"d/{n}": CONTENT[n * 700_000 :][:650_000] + b"changed" for n in range(15)})
        left.write({f"new/{n}": f"new {n}" for n in range(500)})
        _, theirs = await sync(left, right, one_way(left, right))
        assert right.tree() == left.tree()
        assert theirs.bytes_on_wire < 15 * 2 * CHUNK + 500 * 10
        assert theirs.failed == ()


async def test_an_assembly_goes_on_where_its_session_was_cut(tmp_path: Path) -> None:
    content = random.Random(4).randbytes(60_000_000)
    changed = b"".join(content[n : n + 1_000_000] + NEW for n in range(0, len(content), 1_000_000))
    async with sites(tmp_path) as (left, right):
        await in_step(left, right, content)
        left.write({"f": changed})
        plan = one_way(left, right)
        first = await sync_cut_off(left, right, plan, after_bytes=8_000_000)
        assert right.tree()[b"f"][1] == content
        _, theirs = await sync(left, right, plan)
        assert right.tree() == left.tree()
        assert first + theirs.bytes_on_wire < 60 * (len(NEW) + 2 * CHUNK) + 2 * m.BLOCK_BYTES


async def test_the_older_version_changes_meanwhile(tmp_path: Path) -> None:
    """The user at the target saves while its file is being used: a conflict, and both are kept."""
    async with sites(tmp_path) as (left, right):
        await in_step(left, right, CONTENT)
        left.write({"f": NEW + CONTENT})
        plan = edge(left, right, "two-way")
        near, far = await pair_of_sessions()
        links = [link(plan, "source", left, near, Manner()), link(plan, "target", right, far, Manner())]
        running = [asyncio.create_task(each.run()) for each in links]
        await until(lambda: links[1].taking is not None and not links[1].taking.fetch.idle, "it is wanted")
        right.write({"f": b"saved meanwhile"})
        assert await outcome(running) == [None, None]
        await sync(left, right, plan)
        assert right.tree() == left.tree()
        contents = {content for _, content, _ in right.tree().values()} | right.kept() | left.kept()
        assert {NEW + CONTENT, b"saved meanwhile"} <= contents


@pytest.mark.parametrize("size", [SIZE - 500_000, SIZE + 500_000])
async def test_a_file_that_grows_or_shrinks_while_its_chunks_are_listed(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "DESCRIBED_CHUNKS", 50)
    (tmp_path / "f").write_bytes(CONTENT)
    root = Root.open(str(tmp_path), create=False)
    parts = source.Source(root, Filters(())).describe(m.Describe(1, b"f", b"", SIZE))
    first = next(parts)
    with (tmp_path / "f").open("r+b") as file:
        file.truncate(size)
    said = [first, *parts]
    last = said[-1]
    assert isinstance(last, m.Unavailable)
    assert last.gone
    assert sum(sum(each.lengths) for each in said[:-1] if isinstance(each, m.Chunks)) <= SIZE
    root.close()


async def test_two_edges_bring_one_content(tmp_path: Path) -> None:
    """What one edge is at work on is nothing that the other could go on from."""
    async with sites(tmp_path, "a", "b", "c") as (a, b, c):
        for site in (a, b):
            site.write({"f": CONTENT})
        part = await c.replica.work(lambda: c.replica.staging.begin(blake3(CONTENT).digest(), SIZE))
        await c.replica.work(lambda: part.write(0, CONTENT[:5_000_000]))
        _, theirs = await sync(b, c, one_way(b, c))
        assert (theirs.failed, theirs.bytes_on_wire) == ((), SIZE)
        assert c.tree() == b.tree()
        await c.replica.work(part.discard)


def listed(request: int, file: Path) -> m.Chunks:
    """The chunks of a file, as an honest source lists them."""
    fd = os.open(file, os.O_RDONLY)
    try:
        chunks = [(each.length, each.digest) for each in cut(fd, MIN_AVERAGE_BYTES)]
    finally:
        os.close(fd)
    digests = b"".join(digest for _, digest in chunks)
    return m.Chunks(request, [length for length, _ in chunks], digests, last=True)


DIGEST = bytes(CHUNK_DIGEST_BYTES)
LEAST = shortest(MIN_AVERAGE_BYTES)
IMPOSSIBLE = {
    "too few bytes": m.Chunks(1, [LEAST], DIGEST, last=True),
    "too many bytes": m.Chunks(1, [LEAST] * 11, DIGEST * 11, last=False),
    "a digest too few": m.Chunks(1, [5 * LEAST, 5 * LEAST], DIGEST, last=True),
    "an empty chunk": m.Chunks(1, [10 * LEAST, 0], DIGEST * 2, last=True),
    "a negative chunk": m.Chunks(1, [10 * LEAST + 1, -1], DIGEST * 2, last=True),
    "chunks of single bytes": m.Chunks(1, [1] * 2_000, DIGEST * 2_000, last=False),
    "nothing at all": m.Chunks(1, [], b"", last=True),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_lists(name: str) -> None:
    with pytest.raises(Impossible):
        Assembly(10 * LEAST).listed(IMPOSSIBLE[name])


def test_a_request_holds_a_bounded_number_of_ranges() -> None:
    count = 3 * m.MAX_RANGES
    assembly = Assembly(2 * count * LEAST)
    assembly.listed(m.Chunks(1, [LEAST] * 2 * count, os.urandom(2 * count * CHUNK_DIGEST_BYTES), last=True))
    assembly._missing = bytearray(b"\1\0" * count)
    ranges = assembly.ranges()
    assert 0 < len(ranges) <= m.MAX_RANGES
    covered = {at for offset, length in ranges for at in range(offset, offset + length, LEAST)}
    assert covered >= set(range(0, 2 * count * LEAST, 2 * LEAST))


async def test_a_peer_that_lies_about_its_chunks(tmp_path: Path) -> None:
    """Digests of what is here, for a content that is another: found out by its hash, and fetched whole."""
    new = NEW * 4
    async with sites(tmp_path, "left", "right") as (left, right):
        await in_step(left, right, CONTENT[: len(new)])
        row = (await right.replica.work(lambda: right.replica.index.get([b"f"])))[b"f"]
        version = (*row.entry.version[:-1], (row.entry.version[-1][0], row.entry.version[-1][1] + 5))
        entry = Entry(
            b"f", Kind.FILE, False, len(new), 5, 0o644, blake3(new).digest(), version, version, "left"
        )
        async with against(right, one_way(left, right)) as (peer, running):
            await peer.hear(m.Resume)
            await peer.say(m.Entries([entry], 5), m.IndexEnd(5))
            asked: m.Describe = await peer.hear(m.Describe)
            assert (asked.path, asked.size) == (b"f", len(new))
            await peer.say(listed(asked.request, right.root / "f"))
            challenge: m.Challenge = await peer.hear(m.Challenge)
            assert challenge.paths == [b"f"]
            await peer.say(m.Answers([entry]))
            want: m.Want = await peer.hear(m.Want)
            [wanted] = want.files
            assert wanted.ranges == [(0, len(new))]
            await peer.say(m.Blocks([m.Block(wanted.request, 0, new)]))
            await until(lambda: right.tree()[b"f"][1] == new, "it is placed")
            assert not running.done()


async def test_descriptions_without_end(tmp_path: Path) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write({"f": CONTENT})
        async with against(left, one_way(left, right)) as (peer, running):
            with suppress(SessionClosed):  # it hangs up in the middle
                await peer.say(m.Resume(0), *[m.Describe(n, b"f", b"", SIZE) for n in range(50)])
            [ended] = await outcome([running])
            assert isinstance(ended, PeerError)
            assert "descriptions without end" in str(ended)


@pytest.mark.parametrize("path", [b"../out", b"/etc/passwd", b"nowhere", b"f\0"])
async def test_descriptions_of_what_may_not_be_read(tmp_path: Path, path: bytes) -> None:
    async with sites(tmp_path, "left", "right") as (left, right):
        left.write({"f": CONTENT})
        async with against(left, one_way(left, right)) as (peer, _):
            await peer.say(m.Resume(0), m.Describe(1, path, b"", 10))
            assert (await peer.hear(m.Unavailable)).request == 1
