"""Content on its way in: blocks in any order, resumed parts, bytes that aren't what they were said to be."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from node_runtime.disk.errors import ContentMismatch, DiskError
from node_runtime.disk.root import Root
from node_runtime.disk.staging import Staging, verified

BLOCK = 64 * 1024
CONTENT = random.Random(1).randbytes(5 * BLOCK + 17)
DIGEST = blake3(CONTENT).digest()


@pytest.fixture
def staging(root: Root) -> Iterator[Staging]:
    opened = Staging(root)
    yield opened
    opened.close()


def blocks() -> list[tuple[int, bytes]]:
    return [(start, CONTENT[start : start + BLOCK]) for start in range(0, len(CONTENT), BLOCK)]


def where(tree: Path) -> Path:
    return tree / ".syncgraph" / "staging"


@pytest.mark.parametrize("seed", range(5))
def test_blocks_in_any_order(tree: Path, staging: Staging, seed: int) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    shuffled = blocks()
    if seed:
        random.Random(seed).shuffle(shuffled)
    for offset, block in shuffled + shuffled[:2]:
        part.write(offset, block)
    staged = part.finish()
    assert (staged.content, staged.size) == (DIGEST, len(CONTENT))
    assert (where(tree) / os.fsdecode(staged.name)).read_bytes() == CONTENT


def test_the_directory_is_closed_to_others(tree: Path, staging: Staging) -> None:
    assert not where(tree).exists()  # a tree that is only read stays untouched
    staged = staging.stage(verified(blake3(b"x").digest(), b"x"))
    assert where(tree).stat().st_mode & 0o777 == 0o700
    assert (where(tree) / os.fsdecode(staged.name)).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("missing", [0, 2, 5])
def test_a_missing_block_is_noticed(tree: Path, staging: Staging, missing: int) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    for number, (offset, block) in enumerate(blocks()):
        if number != missing:
            part.write(offset, block)
    with pytest.raises(ContentMismatch) as caught:
        part.finish()
    assert not caught.value.resumed
    assert os.listdir(where(tree)) == []


def test_wrong_bytes_are_removed(tree: Path, staging: Staging) -> None:
    with pytest.raises(ContentMismatch):
        verified(DIGEST, CONTENT[:-1] + b"?")
    part = staging.begin(DIGEST, len(CONTENT))
    with pytest.raises(ContentMismatch, match="beyond the file's announced size"):
        part.write(len(CONTENT) - 1, b"ab")
    assert os.listdir(where(tree)) == []


def test_a_part_goes_on_where_a_crash_left_it(root: Root, staging: Staging) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    for number in (0, 1, 2, 4):  # a hole at 3
        part.write(*blocks()[number])
    part.abandon()
    again = Staging(root)
    assert again.have(DIGEST) == 3 * BLOCK
    resumed = again.begin(DIGEST, len(CONTENT))
    assert resumed.have == 3 * BLOCK
    for offset, block in blocks()[3:]:
        resumed.write(offset, block)
    assert resumed.finish().size == len(CONTENT)
    again.close()


def test_a_whole_part_needs_nothing_more(root: Root, staging: Staging) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    for offset, block in blocks():
        part.write(offset, block)
    part.finish()
    again = Staging(root)
    resumed = again.begin(DIGEST, len(CONTENT))
    assert resumed.have == len(CONTENT)
    assert resumed.finish().content == DIGEST
    again.close()


def test_a_damaged_beginning_is_found_at_the_end(tree: Path, root: Root, staging: Staging) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    part.write(*blocks()[0])
    part.abandon()
    file = where(tree) / DIGEST.hex()
    file.write_bytes(b"damaged" + file.read_bytes()[7:])
    resumed = staging.begin(DIGEST, len(CONTENT))
    for offset, block in blocks()[1:]:
        resumed.write(offset, block)
    with pytest.raises(ContentMismatch) as caught:
        resumed.finish()
    assert caught.value.resumed
    assert staging.begin(DIGEST, len(CONTENT)).have == 0


def test_a_leftover_that_is_too_long_starts_anew(tree: Path, staging: Staging) -> None:
    where(tree).mkdir(parents=True)
    (where(tree) / DIGEST.hex()).write_bytes(CONTENT + b"more")
    assert staging.begin(DIGEST, len(CONTENT)).have == 0


def test_the_same_content_twice_at_once(tree: Path, root: Root, staging: Staging) -> None:
    one, two = staging.begin(DIGEST, len(CONTENT)), staging.begin(DIGEST, len(CONTENT))
    elsewhere = Staging(root)  # as another program would
    three = elsewhere.begin(DIGEST, len(CONTENT))
    for offset, block in blocks():
        for part in (one, two, three):
            part.write(offset, block)
    names = {part.finish().name for part in (one, two, three)}
    assert len(names) == 3
    small = [staging.stage(verified(blake3(b"s").digest(), b"s")) for _ in range(2)]
    assert small[0].name != small[1].name
    assert len(os.listdir(where(tree))) == 5
    elsewhere.close()


def test_sweeping_spares_what_is_in_use(tree: Path, root: Root, staging: Staging) -> None:
    part = staging.begin(DIGEST, len(CONTENT))
    (where(tree) / "leftover").write_bytes(b"1")
    (where(tree) / "directory.left").mkdir()
    assert staging.sweep(older_than_s=3600) == 0
    assert staging.sweep(older_than_s=-3600) == 2
    assert os.listdir(where(tree)) == [DIGEST.hex()]
    part.abandon()
    assert staging.sweep(older_than_s=-3600) == 1


def test_copying_verifies(tree: Path, staging: Staging) -> None:
    (tree / "source").write_bytes(CONTENT)
    fd = os.open(tree / "source", os.O_RDONLY)
    staged = staging.copy(fd, DIGEST, len(CONTENT))
    assert (where(tree) / os.fsdecode(staged.name)).read_bytes() == CONTENT
    staging.discard(staged)
    with pytest.raises(ContentMismatch):
        staging.copy(fd, blake3(b"other").digest(), len(CONTENT))
    os.close(fd)
    assert os.listdir(where(tree)) == []


def test_a_link_in_place_of_the_directory_is_refused(tree: Path, root: Root, tmp_path: Path) -> None:
    (tree / ".syncgraph").symlink_to(tmp_path)
    with pytest.raises(DiskError, match="working directory"):
        Staging(root).stage(verified(blake3(b"x").digest(), b"x"))
    assert not (tmp_path / "staging").exists()


def test_discarding_what_was_placed_spares_the_same_content_that_came_since(
    tree: Path, staging: Staging
) -> None:
    digest = blake3(b"s").digest()
    placed = staging.stage(verified(digest, b"s"))
    os.rename(where(tree) / os.fsdecode(placed.name), tree / "placed")
    staging.release(placed)
    since = staging.stage(verified(digest, b"s"))
    assert since.name == placed.name
    staging.discard(placed)
    assert os.listdir(where(tree)) == [os.fsdecode(since.name)]
    staging.discard(since)
    assert os.listdir(where(tree)) == []
