"""The codec: everything that can be said survives the wire, and no bytes do more than be refused."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.exchange.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Bye,
    Entries,
    Message,
    Tally,
    beginning,
    decode,
    encode,
    fitted,
)
from node_runtime.replica.entry import Entry, Kind
from tests.support.trees import A, file

KINDS: tuple[type[Message], ...] = get_args(AnyMessage)
SIXTY_THREE_BITS = st.integers(0, 2**63 - 1)

st.register_type_strategy(bytes, st.binary(max_size=300))
ENTRIES = st.builds(
    Entry,
    path=st.binary(max_size=100),
    kind=st.sampled_from(Kind),
    deleted=st.booleans(),
    size=SIXTY_THREE_BITS,
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    mode=st.integers(0, 0o7777),
    content=st.binary(max_size=64),
    version=st.lists(st.tuples(SIXTY_THREE_BITS, SIXTY_THREE_BITS), max_size=5).map(tuple),
    metadata_version=st.lists(st.tuples(SIXTY_THREE_BITS, SIXTY_THREE_BITS), max_size=5).map(tuple),
    origin=st.text(max_size=40),
)
st.register_type_strategy(Entry, ENTRIES)
st.register_type_strategy(int, SIXTY_THREE_BITS)
ANY_MESSAGE = st.one_of([st.from_type(kind) for kind in KINDS])


@given(message=ANY_MESSAGE)
@settings(max_examples=150, deadline=None)
def test_every_message_comes_back_equal(message: AnyMessage) -> None:
    assert decode(encode(message)) == message


def test_every_message_has_a_number_of_its_own() -> None:
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert len(set(tags)) == len(tags)


@given(garbage=st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_be_refused(garbage: bytes) -> None:
    try:
        decode(garbage)
    except msgspec.DecodeError:
        return


@given(message=ANY_MESSAGE, place=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_another_message_or_none(message: AnyMessage, place: int, value: int) -> None:
    encoded = bytearray(encode(message))
    encoded[place % len(encoded)] = value
    try:
        decode(bytes(encoded))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 100_000,  # nested arrays
        b"\xdd\xff\xff\xff\xff",  # an array that claims four thousand million members
        b"\xc6\xff\xff\xff\xff",
        b"\x92\x02\xdd\x7f\xff\xff\xff",
    ],
)
def test_bombs(bomb: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        decode(bomb)


def test_batches_with_long_vectors_are_cut_to_fit() -> None:
    everyone = tuple((who, 2**62) for who in range(1, 4_000))
    entries = [file(f"{n}", "", {A: 1}) for n in range(2_000)]
    entries = [msgspec.structs.replace(e, version=everyone, metadata_version=everyone) for e in entries]
    count = beginning(entries)
    assert 0 < count < 2_000
    assert len(encode(Entries(entries[:count], 5))) <= MAX_MESSAGE_BYTES
    assert beginning(entries[:1]) == 1
    assert beginning([]) == 0


def test_a_goodbye_fits_whatever_failed() -> None:
    failed = tuple((b"%d" % n + bytes(100), "why it failed") for n in range(100_000))
    conflicts = tuple((b"%d" % n + bytes(100), bytes(100)) for n in range(100_000))
    tally = fitted(Tally(failed=failed, conflicts=conflicts))
    assert len(encode(Bye("", tally))) <= MAX_MESSAGE_BYTES
    assert tally.failed[-1] == (b".", f"and {len(failed) - len(tally.failed) + 1} paths more failed")
    small = Tally(failed=failed[:5], conflicts=conflicts[:5])
    assert fitted(small) == small
