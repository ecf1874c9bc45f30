"""Where content is cut: by itself alone, so that most chunks survive an insertion."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from blake3 import blake3

from node_runtime.disk.chunks import MAX_AVERAGE_BYTES, MIN_AVERAGE_BYTES, average_for, cut, longest
from node_runtime.replica.entry import CHUNK_DIGEST_BYTES

CONTENT = random.Random(7).randbytes(3_000_000)


def chunks_of(path: Path, content: bytes, average: int = MIN_AVERAGE_BYTES) -> list[tuple[int, bytes]]:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return [
            (each.offset, bytes(each.content))
            for each in cut(fd, average)
            if check(each.content, each.digest)
        ]
    finally:
        os.close(fd)


def check(content: memoryview, digest: bytes) -> bool:
    assert blake3(content).digest(length=CHUNK_DIGEST_BYTES) == digest
    return True


@pytest.mark.parametrize("size", [0, 1, 4_095, 4_096, 65_536, 65_537, 3_000_000])
def test_chunks_are_the_content(tmp_path: Path, size: int) -> None:
    found = chunks_of(tmp_path / "f", CONTENT[:size])
    assert b"".join(content for _, content in found) == CONTENT[:size]
    ends = [offset + len(content) for offset, content in found]
    assert [offset for offset, _ in found] == [0, *ends][: len(found)]
    assert all(len(content) <= longest(MIN_AVERAGE_BYTES) for _, content in found)


@pytest.mark.parametrize("content", [bytes(3_000_000), b"\xff" * 3_000_000, b"the same line\n" * 200_000])
def test_monotonous_content_is_cut_too(tmp_path: Path, content: bytes) -> None:
    found = chunks_of(tmp_path / "f", content)
    assert b"".join(each for _, each in found) == content
    assert len(found) <= len(content) // (MIN_AVERAGE_BYTES // 4) + 1


@pytest.mark.parametrize("at", [0, 1, 777_777, 2_999_999])
def test_an_insertion_leaves_most_chunks_as_they_are(tmp_path: Path, at: int) -> None:
    before = {content for _, content in chunks_of(tmp_path / "f", CONTENT)}
    inserted = CONTENT[:at] + b"something new" + CONTENT[at:]
    new = [content for _, content in chunks_of(tmp_path / "f", inserted) if content not in before]
    assert sum(len(content) for content in new) < 4 * longest(MIN_AVERAGE_BYTES)


def test_larger_files_are_cut_into_larger_chunks() -> None:
    assert average_for(0) == average_for(2**30) == MIN_AVERAGE_BYTES
    assert average_for(2**30 + 64 * 1024) == 2 * MIN_AVERAGE_BYTES
    assert average_for(2**62) == MAX_AVERAGE_BYTES
    for size in (2**31, 3 * 2**33 + 5, 2**37):
        assert size / average_for(size) <= 64 * 1024
