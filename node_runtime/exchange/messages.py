"""The messages of a session: everything that two ends of an edge ever say.

A session starts with a `Hello` from each end. From then on each end *offers* its index (`Entries`,
`IndexEnd`) where the edge lets entries flow away from it, and *pulls* where the edge lets them flow to
it: it asks for content (`Want`), receives `Blocks`, and acknowledges (`Taken`, `Ack`). Nothing waits a
round trip per file: offers, wants and blocks of many files are under way at once.

Blocks carry their request and their offset, so they may arrive in any order. All other messages are
ordered and reliable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from node_runtime.replica.entry import Entry

PROTOCOL = 2
MAX_BATCH_ENTRIES = 2_000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # a larger one is refused before it is read
MAX_SEQ = 2**63  # exclusive; what an index can hold
INDEX_ID_BYTES = 16
BLOCK_BYTES = 1024 * 1024
HOLE_BYTES = 64 * 1024 * 1024  # told in one block: whoever takes it hashes as many zeros
PACK_BYTES = 1024 * 1024  # small files are packed into one message up to this much content
PACK_FILES = 256
MAX_RANGES = 4_096  # of one wanted file
DESCRIBED_CHUNKS = 2_048  # a message

End = Literal["source", "target"]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages; on the wire an array that starts with the message's number."""


class Hello(Message, frozen=True, tag=0):
    """Who I am on this edge. The first message in each direction."""

    protocol: int
    edge: str
    edge_digest: str  # SHA-256 of the replication plan: both ends must run the same one
    end: End
    node: str
    replica_id: int
    index_id: bytes
    max_seq: int  # of the sender's index


class Resume(Message, frozen=True, tag=1):
    """Offer me your entries after this sequence number; 0 asks for all."""

    after_seq: int


class Entries(Message, frozen=True, tag=2):
    """The sender's entries up to `seq`, those that the receiver has no use for left out."""

    entries: list[Entry]
    seq: int


class IndexEnd(Message, frozen=True, tag=3):
    """You have now been offered all that I hold, up to `seq`."""

    seq: int


class Taken(Message, frozen=True, tag=4):
    """I have room again: the entries up to `seq` no longer wait to be looked at."""

    seq: int


class Ack(Message, frozen=True, tag=5):
    """Your entries up to `seq` are carried out, or listed as failed. They need never be sent again."""

    seq: int


class Challenge(Message, frozen=True, tag=6):
    """What do you hold at these paths? Asked for paths that failed, or that were edited at a mirror."""

    paths: list[bytes]


class Answers(Message, frozen=True, tag=7):
    """What I hold at the challenged paths; a tombstone with an empty version where I never knew the path."""

    entries: list[Entry]


class Wanted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Parts of one file's content. Requests are numbered by whoever asks, never reused."""

    request: int
    path: bytes
    content: bytes
    size: int
    ranges: list[tuple[int, int]]  # offset and length of each, ascending and apart; all of it: [(0, size)]


class Want(Message, frozen=True, tag=8):
    """Send me these."""

    files: list[Wanted]


class Describe(Message, frozen=True, tag=14):
    """Which chunks is this content made of? Asked where an older version of it is here; a `Want` follows."""

    request: int
    path: bytes
    content: bytes
    size: int


class Chunks(Message, frozen=True, tag=15):
    """The next chunks of a described content, in its order."""

    request: int
    lengths: list[int]  # how it is cut follows from its size, see `disk.chunks`
    digests: bytes  # as many of CHUNK_DIGEST_BYTES, one behind the other
    last: bool


class Block(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of bytes of one requested file."""

    request: int
    offset: int
    content: bytes
    zeros: int = 0  # instead of content: a hole of so many bytes, at most HOLE_BYTES

    @property
    def length(self) -> int:
        """How many bytes of the file this is."""
        return len(self.content) + self.zeros


class Blocks(Message, frozen=True, tag=9):
    """Content: one large block, or many small files packed together."""

    blocks: list[Block]


class Unavailable(Message, frozen=True, tag=10):
    """The content of a request can't be sent: the file changed, vanished or can't be read."""

    request: int
    reason: str
    gone: bool  # it changed or vanished; a newer entry will follow


class InStep(Message, frozen=True, tag=11):
    """Nothing is under way at my end: you hold mine up to `offered`, I hold yours up to `handled`."""

    offered: int
    handled: int


class Progress(Message, frozen=True, tag=13):
    """How far the sender is with what it takes. For people only: nothing is decided by it."""

    pending_files: int
    pending_bytes: int
    files: int  # done in this session
    bytes_on_wire: int  # received in this session


PlannedAction = Literal["create", "update", "metadata", "delete", "rename", "conflict"]


class Planned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change that a dry run would have made."""

    action: PlannedAction
    path: bytes
    former: bytes = b""  # of a rename: the path before it


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What one end did in this session."""

    files: int = 0  # created or given new content
    directories: int = 0  # created
    content_bytes: int = 0  # size of those files
    bytes_on_wire: int = 0  # content bytes received
    renamed: int = 0
    deleted: int = 0
    metadata: int = 0
    conflicts: tuple[tuple[bytes, bytes | None], ...] = ()  # path, copy; None while held
    failed: tuple[tuple[bytes, str], ...] = ()  # path, reason
    files_held: int = 0  # live files in the replica
    planned: tuple[Planned, ...] = ()  # in a dry run: what would be done, as far as a message has room
    planned_more: int = 0  # changes that were left out of `planned`
    held: str = ""  # what its guard holds back, in a sentence


TALLY_BYTES = 4 * 1024 * 1024  # of failed and conflicting paths that one goodbye lists


def fitted(tally: Tally) -> Tally:
    """`tally`, its lists cut to what a message holds; the last of a cut list says how many more there are."""
    room = TALLY_BYTES
    shown: list[tuple[bytes, str]] = []
    for path, reason in tally.failed:
        room -= len(path) + 4 * len(reason)
        if room < 0:
            more = len(tally.failed) - len(shown)
            shown.append((b".", f"and {more} paths more failed"))
            break
        shown.append((path, reason))
    conflicts: list[tuple[bytes, bytes | None]] = []
    room = TALLY_BYTES
    for path, copy in tally.conflicts:
        room -= len(path) + len(copy or b"")
        if room < 0:
            break
        conflicts.append((path, copy))
    return msgspec.structs.replace(tally, failed=tuple(shown), conflicts=tuple(conflicts))


class Bye(Message, frozen=True, tag=12):
    """I leave. `reason` is empty where all is done; else it says what went wrong."""

    reason: str
    tally: Tally


AnyMessage = (
    Hello
    | Resume
    | Entries
    | IndexEnd
    | Taken
    | Ack
    | Challenge
    | Answers
    | Want
    | Blocks
    | Unavailable
    | Describe
    | Chunks
    | InStep
    | Bye
    | Progress
)

BATCH_BYTES = 4 * 1024 * 1024
_ENTRY_BYTES, _EDIT_BYTES = 512, 20  # at most: an entry without its path, content and vectors; one counter


def beginning(entries: Sequence[Entry], limit_bytes: int = BATCH_BYTES) -> int:
    """How many of these entries, at least one, go into one message: vectors and paths can be long."""
    size = 0
    for count, entry in enumerate(entries):
        edits = len(entry.version) + len(entry.metadata_version)
        size += _ENTRY_BYTES + len(entry.path) + len(entry.content) + edits * _EDIT_BYTES
        if size > limit_bytes and count:
            return count
    return len(entries)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(AnyMessage).decode
