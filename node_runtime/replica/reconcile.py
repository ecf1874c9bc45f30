"""Reconciling: what one replica does with one entry that a peer sent. The heart of the product.

`reconcile` is a pure function of the local entry, the peer's entry and the edge's rules. It decides what
the local row becomes and which kind of work brings the disk there. It must not know how entries travel,
what is on the disk, or who else is in the fleet. `DESIGN.md` beside it has the laws and the proof.

The one rule that everything rests on: **a version only ever contains an edit whose bytes are safe.** A
replica joins two concurrent versions only while it gives up the losing content itself, and then it keeps
that content aside first. The winner's holder waits: if it joined at once, its entry would reach
the loser's holder as plainly newer and overwrite bytes that nobody had kept.

Sources: Parker et al., IEEE TSE 9(3), 1983 (vectors); Ratner, Reiher, Popek, "Dynamic version vector
maintenance", UCLA CSD-970022, 1997; Balasubramaniam and Pierce, "What is a file synchronizer?",
MobiCom 1998 (a path edited on one side only takes that edit; edited on both, neither is overwritten).

Read next: `conflict`, then `moves`.
"""

from __future__ import annotations

import enum

import msgspec

from node_runtime.replica import version
from node_runtime.replica.conflict import conflict_copy_name, is_conflict_copy
from node_runtime.replica.entry import HASH_BYTES, MAX_FILE_BYTES, Entry, Kind
from node_runtime.replica.path import unsafe_because
from node_runtime.replica.policies import policy_of
from node_runtime.replica.version import Order
from schemas.plans import ConflictPlan, Deletes, TargetChanges

MAX_ORIGIN_CHARACTERS = 255
MAX_LINK_BYTES = 4095  # Linux PATH_MAX less its NUL: no longer target could be made here
MAX_MTIME_NS = 2**63  # exclusive, either side of 1970: what SQLite holds


class Action(enum.Enum):
    """The kind of work that brings the disk to `Decision.entry`."""

    NOTHING = "nothing"  # neither disk nor index
    MERGE = "merge"  # the index row alone: vectors joined, a tombstone taken note of
    METADATA = "metadata"  # mode or mtime
    CREATE = "create"  # nothing is there now
    UPDATE = "update"  # something else is there now: other content, another kind
    DELETE = "delete"
    HOLD = "hold"  # a conflict that a person settles: neither disk nor index, but a report


class Rules(msgspec.Struct, frozen=True):
    """How one edge lets this end take entries from its peer."""

    local_id: int  # replica id
    local_node: str
    one_way: bool  # this end is the target; a one-way source takes nothing
    deletes: Deletes
    target_changes: TargetChanges  # one-way only
    conflict: ConflictPlan

    @property
    def mirrors(self) -> bool:
        """Whether this end undoes its own edits."""
        return self.one_way and self.target_changes == "revert"


class Decision(msgspec.Struct, frozen=True):
    """What to do about one peer entry."""

    action: Action
    entry: Entry  # what the local row becomes; after NOTHING and HOLD there is no row to write
    keep_aside: bytes | None = None  # UPDATE only: the local content is moved to this path first
    reason: str = ""
    learned_exactly: bool = False  # `entry` is the peer's own: it needn't be sent back to that peer


def reconcile(local: Entry | None, peer: Entry, rules: Rules, now_s: int) -> Decision:
    """What becomes of `local` when `peer` arrives; both are about the same path.

    A peer entry that is deleted with an empty version means "never heard of it": an end makes one up for
    a path that its one-way source doesn't know.
    """
    if peer.deleted and rules.deletes == "keep":
        # Tombstones aren't heard at all: one noted here would travel on and delete at a third replica.
        return _nothing(local, peer, "this edge keeps what its peer deletes")
    if local is None:
        if peer.deleted and not peer.version:
            return _nothing(local, peer, "")
        # A tombstone is noted though nothing is here: an older copy may still come from elsewhere.
        return Decision(Action.MERGE if peer.deleted else Action.CREATE, peer, learned_exactly=True)
    if local == peer:
        return _nothing(local, peer, "")
    if rules.mirrors:
        return _decide(local, peer, _mirror(local, peer, rules, now_s))
    if local.same_content(peer):
        return _decide(local, peer, _merge_same_content(local, peer))
    order = version.compare(local.version, peer.version)
    if order is Order.BEFORE:
        return _decide(local, peer, _replaced(local, peer))
    if order is Order.AFTER:
        return _nothing(local, peer, "the local edit is newer")
    return _settle_conflict(local, peer, rules, order)


def reassert(local: Entry, peer: Entry, local_id: int, now_s: int) -> Entry:
    """The new local edit of a directory that `peer` wants gone and that can't go.

    It holds children that the peer doesn't know or that filters exclude. Against a tombstone it is an edit
    that knew of the deletion, so the directory comes back everywhere. Against a file or link in its place it
    stays concurrent, so that the peer keeps that content aside when the directory wins. Saying it twice
    changes nothing. An end that reverts its own edits doesn't say it: it tries until the directory goes.
    """
    order = version.compare(local.version, peer.version)
    if order is Order.AFTER or (order is Order.CONCURRENT and not peer.deleted):
        return local
    if peer.deleted:
        base = version.join(local.version, peer.version)
        own = version.bump(base, local_id, now_s)
    else:
        # `local` precedes `peer`, which may contain our own counter: go past it, and leave the rest out.
        ours = dict(peer.version).get(local_id, 0)
        own = version.bump(version.join(local.version, ((local_id, ours),) if ours else ()), local_id, now_s)
    metadata = version.join(local.metadata_version, own)
    return msgspec.structs.replace(local, version=own, metadata_version=metadata)


def _settle_conflict(local: Entry, peer: Entry, rules: Rules, order: Order) -> Decision:
    """Neither entry contains the other, and their contents differ.

    Equal versions come here too: three replicas can join the same edits to different winners on the way
    to agreement. Those are settled by the plain order whatever the policy, so that
    edges with different policies can't hand one path to and fro.
    """
    plan = policy_of(rules.conflict, local, peer)
    if plan.policy == "hold" and not (local.deleted or peer.deleted):
        # Delete against edit isn't held: deleting the unwanted side is how a person settles a held conflict.
        return Decision(Action.HOLD, local, reason=f"edited on {local.origin} and on {peer.origin}")
    preferred = plan.prefer if plan.policy == "prefer" and order is Order.CONCURRENT else None
    if _rank(local, preferred) > _rank(peer, preferred):
        return _nothing(local, peer, "the local content wins; the peer will keep its own aside")
    keep_aside = None
    reason = f"{peer.origin} wins over {local.origin}"
    if local.deleted or local.kind is Kind.DIRECTORY:
        reason = f"edited on {peer.origin}, deleted on {local.origin}"
    elif is_conflict_copy(local.path):
        reason += "; a conflict copy gets no copy of its own, see the kept versions"
    elif plan.policy == "keep-both":
        keep_aside = conflict_copy_name(local)
    return _decide(local, peer, _replaced(local, peer), keep_aside, reason)


def _rank(entry: Entry, preferred: str | None = None) -> tuple[object, ...]:
    """The total order among concurrent entries of one path: the greatest wins, on every node the same.

    Two entries of equal rank are equal but for their vectors.
    """
    return (
        not entry.deleted,
        entry.kind is Kind.DIRECTORY,
        entry.origin == preferred,
        entry.mtime_ns,
        entry.origin,
        entry.content,
        entry.kind,
        entry.mode,
        entry.size,
    )


def _replaced(local: Entry, peer: Entry) -> Entry:
    """The peer's content with its metadata, containing all that was known of both."""
    joined = version.join(peer.version, local.version)
    metadata = version.join(peer.metadata_version, local.metadata_version)
    return _with_versions(peer, joined, metadata)


def _merge_same_content(local: Entry, peer: Entry) -> Entry:
    """One entry out of two that hold the same content. Symmetric, so both ends get the same one."""
    order = version.compare(local.version, peer.version)
    if order in (Order.EQUAL, Order.CONCURRENT):
        base = max(local, peer, key=_rank)
    else:
        base = local if order is Order.AFTER else peer
    metadata_order = version.compare(local.metadata_version, peer.metadata_version)
    if metadata_order in (Order.EQUAL, Order.CONCURRENT):
        # Only the permissions that both give: a default mode must not open what somebody has closed.
        mode, mtime_ns = local.mode & peer.mode, base.mtime_ns
    else:
        newer = local if metadata_order is Order.AFTER else peer
        mode, mtime_ns = newer.mode, newer.mtime_ns
    joined = version.join(local.version, peer.version)
    metadata = version.join(local.metadata_version, peer.metadata_version)
    if base.mode != mode or base.mtime_ns != mtime_ns:
        base = msgspec.structs.replace(base, mode=mode, mtime_ns=mtime_ns)
    return _with_versions(base, joined, metadata)


def _mirror(local: Entry, peer: Entry, rules: Rules, now_s: int) -> Entry:
    """The peer's entry at an end that reverts its own edits.

    Where the local entry isn't simply older, taking the peer's is a new edit of this replica: third
    replicas that have seen the local edit must see the reversal as newer.
    """
    if local.deleted and peer.deleted:
        return _merge_same_content(local, peer) if peer.version else local
    if not peer.version:  # the source never heard of it
        peer = _tombstone_of(local, rules.local_node, now_s)
    joined = version.join(peer.version, local.version)
    metadata = version.join(peer.metadata_version, local.metadata_version)
    if local.same_content(peer):
        older = version.compare(local.metadata_version, peer.metadata_version) is Order.BEFORE
        if not older and not local.same_metadata(peer):
            metadata = version.bump(metadata, rules.local_id, now_s)
        return _with_versions(peer, joined, metadata)
    if version.compare(local.version, peer.version) is not Order.BEFORE:
        joined = version.bump(joined, rules.local_id, now_s)
        metadata = version.join(metadata, joined)
    return _with_versions(peer, joined, metadata)


def _tombstone_of(local: Entry, origin: str, now_s: int) -> Entry:
    return Entry(
        local.path, local.kind, True, 0, now_s * 1_000_000_000, 0, b"", version.EMPTY, version.EMPTY, origin
    )


def _with_versions(entry: Entry, joined: version.Vector, metadata: version.Vector) -> Entry:
    if entry.version == joined and entry.metadata_version == metadata:
        return entry
    return msgspec.structs.replace(entry, version=joined, metadata_version=metadata)


def _decide(
    local: Entry, peer: Entry, result: Entry, keep_aside: bytes | None = None, reason: str = ""
) -> Decision:
    """The decision whose work leads from `local` to `result`."""
    if result == local:
        return _nothing(local, peer, reason)
    if local.same_content(result):
        unchanged = result.deleted or local.same_metadata(result)
        action = Action.MERGE if unchanged else Action.METADATA
    elif result.deleted:
        action = Action.DELETE
    else:
        action = Action.CREATE if local.deleted else Action.UPDATE
    return Decision(action, result, keep_aside, reason, learned_exactly=result == peer)


def _nothing(local: Entry | None, peer: Entry, reason: str) -> Decision:
    return Decision(Action.NOTHING, local or peer, None, reason, learned_exactly=local == peer)


def check_peer_entry(entry: Entry) -> str | None:
    """Why an entry from a peer must be refused, or None where it may be reconciled."""
    unsafe = unsafe_because(entry.path)
    if unsafe:
        return unsafe
    if not entry.version:
        return "an entry that no replica has edited"
    if not (version.is_valid(entry.version) and version.is_valid(entry.metadata_version)):
        return "a version vector that is not sorted, or has impossible counters"
    order = version.compare(entry.version, entry.metadata_version)
    if order not in (Order.EQUAL, Order.BEFORE):
        return "a metadata version that lacks edits of the content"
    if not 0 <= entry.mode <= 0o7777:
        return "a mode that is not permission bits"
    if not -MAX_MTIME_NS < entry.mtime_ns < MAX_MTIME_NS:
        return "a modification time out of range"
    if not 0 < len(entry.origin) <= MAX_ORIGIN_CHARACTERS or not entry.origin.isprintable():
        return f"an origin that is no node name of at most {MAX_ORIGIN_CHARACTERS} characters"
    return _impossible_content(entry)


def _impossible_content(entry: Entry) -> str | None:
    """Why size and content don't suit the kind, or None where they do."""
    if entry.deleted:
        return "a tombstone with content" if entry.size or entry.content or entry.mode else None
    if entry.kind is Kind.FILE:
        if not 0 <= entry.size <= MAX_FILE_BYTES:
            return f"a size outside 0 to {MAX_FILE_BYTES} bytes"
        return None if len(entry.content) == HASH_BYTES else f"a content hash that is not {HASH_BYTES} bytes"
    if entry.size:
        return "a size on something that is not a file"
    if entry.kind is Kind.DIRECTORY:
        return "a directory with content" if entry.content else None
    if not 0 < len(entry.content) <= MAX_LINK_BYTES:
        return f"a link target that is not 1 to {MAX_LINK_BYTES} bytes"
    return "a NUL byte in a link target" if b"\0" in entry.content else None
