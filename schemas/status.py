"""What a node reports of itself: the observed half of desired against observed."""

from __future__ import annotations

from typing import Literal

from schemas.plans import Document

EdgeState = Literal[
    "waiting",  # scheduled or once, between runs
    "connecting",  # no session yet; `detail` says why
    "scanning",
    "syncing",
    "in-step",
    "held",  # a guard or a conflict waits for a person; `detail` says which
    "failed",  # `detail` says why; tried again with back-off
]


class PathProblem(Document, frozen=True):
    """One path that could not be brought in step, and why."""

    path: str
    reason: str


class ConflictReport(Document, frozen=True):
    """One conflict: the path, and the copy that keeps the losing content (None while held)."""

    path: str
    copy: str | None


class HeldChanges(Document, frozen=True):
    """What a guard holds back at this end until a person approves it."""

    hold: str  # names exactly this; an approval says it back
    deletes: int  # of files
    replaces: int  # of files
    directories: int
    paths: tuple[str, ...]  # the first of them


class EdgeStatus(Document, frozen=True):
    """One edge, as one of its ends sees it."""

    edge: str
    state: EdgeState
    peer: str
    detail: str = ""
    in_step_at: float | None = None  # Unix time, seconds
    next_run_at: float | None = None  # Unix time, seconds; only when scheduled
    pending_files: int = 0
    pending_bytes: int = 0
    received_files: int = 0  # since the runtime started
    received_bytes: int = 0  # content bytes that crossed the session, since the runtime started
    renamed: int = 0
    deleted: int = 0
    failed: tuple[PathProblem, ...] = ()  # at most 100; failed_count has the number
    failed_count: int = 0
    conflicts: tuple[ConflictReport, ...] = ()  # at most 100; conflict_count has the number
    conflict_count: int = 0
    held: HeldChanges | None = None


class ReplicaStatus(Document, frozen=True):
    """One replica: what its index holds, and what keeps its scans from finishing."""

    path: str
    files: int
    directories: int
    bytes: int
    problem: str = ""  # a missing or emptied root, unreadable directories


class NodeStatus(Document, frozen=True):
    """Everything a node says of itself."""

    node: str
    version: str  # of the node runtime
    generation: int  # 0 before the first plan
    digest: str  # of the current plan; "" before the first plan
    started_at: float  # Unix time, seconds
    certificate_expires_at: float | None  # Unix time, seconds
    edges: tuple[EdgeStatus, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()
