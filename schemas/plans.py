"""Replication plans: what one edge, and one node, is told to do.

A `ReplicationPlan` says everything that both ends must know of one edge. A `NodePlan` gathers the
replication plans of one node with the addresses of its peers. A `SignedPlan` is the envelope that is
pushed: the exact bytes that were signed, and the generation that orders them.

Everything is immutable and compares by value. `encode` gives the one canonical JSON text of a
document, so that equal documents have equal digests on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

Direction = Literal["one-way", "two-way"]
Mode = Literal["once", "scheduled", "continuous"]
ConflictPolicy = Literal["keep-both", "newest", "prefer", "hold"]
Deletes = Literal["propagate", "keep"]
TargetChanges = Literal["revert", "keep"]
FilterAction = Literal["exclude", "include"]

API_VERSION: Literal["syncgraph/v1"] = "syncgraph/v1"


class Document(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of every document: camelCase on the wire, unknown keys refused."""


class ReplicaRef(Document, frozen=True):
    """One directory tree on one node."""

    node: str
    path: str  # absolute, or relative to the runtime's home with a leading "~/"

    def __str__(self) -> str:
        return f"{self.node}:{self.path}"


class FilterRule(Document, frozen=True):
    """One gitignore-style rule; later rules outweigh earlier ones."""

    action: FilterAction
    pattern: str


class SyncPlan(Document, frozen=True, omit_defaults=True):
    """When an edge runs."""

    mode: Mode = "continuous"
    schedule: str | None = None  # five-field cron or @daily; only when mode is "scheduled"
    time_zone: str = "UTC"  # IANA name; only when mode is "scheduled"
    jitter_s: float = 0.0  # a start is put off by up to this long; only when mode is "scheduled"
    debounce_s: float = 1.0  # quiet time before a watched change is read; only when "continuous"
    rescan_s: float = 3600.0  # full scan between watch events; only when "continuous"


class ConflictRule(Document, frozen=True, omit_defaults=True):
    """Another policy for the paths that match; later rules outweigh earlier ones."""

    paths: str  # a gitignore pattern
    policy: ConflictPolicy
    prefer: str | None = None  # node name; only when policy is "prefer"

    def __str__(self) -> str:
        return f"{self.policy}{f' {self.prefer}' if self.prefer else ''} for {self.paths}"


class ConflictPlan(Document, frozen=True, omit_defaults=True):
    """What becomes of two edits of which neither knew the other."""

    policy: ConflictPolicy = "keep-both"
    prefer: str | None = None  # node name; only when policy is "prefer"
    rules: tuple[ConflictRule, ...] = ()


class RetentionPlan(Document, frozen=True, omit_defaults=True):
    """How much of what a sync overwrites and deletes a replica keeps; see `node_runtime/disk/retention`."""

    deleted_s: float = 30 * 86_400.0  # content of deleted paths
    versions: int = 5  # overwritten contents of a path
    size_bytes: int | None = None  # of all together; None: no limit


DEFAULT_RETENTION = RetentionPlan()


class GuardPlan(Document, frozen=True, omit_defaults=True):
    """What stops before much is deleted."""

    max_delete: str | None = None  # as `schemas.text.parse_limit` reads it: "500", "25%"; None: no limit
    require_marker: bool = False  # a replica without its marker file reports no deletes


class ReplicationPlan(Document, frozen=True, omit_defaults=True):
    """One edge, as both of its ends see it."""

    edge: str  # topology/graph/source~target: stable, never a list position
    source: ReplicaRef
    target: ReplicaRef
    direction: Direction
    dials: str  # node name of the end that opens the session; always source.node or target.node
    sync: SyncPlan = SyncPlan()
    filters: tuple[FilterRule, ...] = ()
    conflict: ConflictPlan = ConflictPlan()
    deletes: Deletes = "propagate"
    target_changes: TargetChanges = "revert"  # one-way only: what a local edit at the target becomes
    retention: RetentionPlan = DEFAULT_RETENTION  # at both ends; of several edges' the one that keeps most
    guards: GuardPlan = GuardPlan()


class PeerAddress(Document, frozen=True):
    """Where a peer's node runtime listens for sessions."""

    host: str
    port: int


class NodePlan(Document, frozen=True):
    """All that one node has to do. Its digest names it."""

    api_version: Literal["syncgraph/v1"]
    kind: Literal["NodePlan"]
    fleet: str  # name of the certificate authority's fleet: the topology repository's name
    node: str
    peers: dict[str, PeerAddress]  # only the peers that this node dials
    edges: tuple[ReplicationPlan, ...]  # sorted by edge id


class SignedPlan(Document, frozen=True):
    """The pushed envelope. `plan` is the canonical text itself, so that what was signed is what runs."""

    plan: str
    digest: str  # SHA-256 of `plan`, hex
    node: str
    generation: int  # grows with every push to this node; an older one is refused
    signature: str  # base64 Ed25519 signature of `signed_bytes`


def encode(document: Any) -> bytes:
    """The canonical JSON of a document: sorted keys, no white space, UTF-8."""
    return msgspec.json.encode(document, order="sorted")


def digest(document: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(encode(document)).hexdigest()


def signed_bytes(node: str, generation: int, plan_digest: str) -> bytes:
    """What the authority signs: the plan's digest bound to one node and one generation."""
    return b"syncgraph node plan v1\0" + encode([node, generation, plan_digest])


def empty_plan(fleet: str, node: str) -> NodePlan:
    """The plan of a node that has nothing to do: what `destroy` pushes."""
    return NodePlan(API_VERSION, "NodePlan", fleet, node, {}, ())
