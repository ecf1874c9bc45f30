"""Conflicts as a node tells of them, and how a person has one ended: words of the control conversation.

A conflict is two contents of one path of which neither edit knew the other. Either the loser is kept beside
the winner as a conflict copy, or, where the policy is `hold`, each node keeps its own until a person decides.
"""

from __future__ import annotations

from typing import Literal

from schemas.plans import Document

MAX_LISTED = 1_000  # conflicts in one reply

Keep = Literal[
    "winner",  # the copy goes
    "copy",  # the copy takes the winner's place
    "both",  # the copy gets an ordinary name
    "here",  # of a held one: what the asked node holds becomes the winner everywhere
]


class Content(Document, frozen=True):
    """One of the contents, as the index of a replica knows it."""

    path: str
    kind: Literal["file", "directory", "symlink"]
    size_bytes: int
    modified_at: float  # Unix time, seconds
    origin: str  # the node that edited it last
    content: str  # equal for equal contents
    version: tuple[tuple[int, int], ...]  # (replica id, Unix time of its last edit that this one knew of)


class Conflict(Document, frozen=True, omit_defaults=True):
    """One conflict, as one replica sees it."""

    replica: str  # its path, as the plan writes it
    path: str
    here: Content | None  # what stands under the path; None where it was deleted since (never if held)
    other: Content  # the conflict copy, or what the peer holds
    peer: str = ""  # the peer's node; "" where `other` is a conflict copy
    edge: str = ""  # only with `peer`


class ListConflicts(Document, frozen=True, tag="conflicts", tag_field="op"):
    """Which conflicts are there?"""

    replicas: tuple[str, ...] = ()  # only in these; () for all
    patterns: tuple[str, ...] = ()  # gitignore patterns of which one must match the path; () for all


class ResolveConflict(Document, frozen=True, tag="resolve", tag_field="op"):
    """End a conflict, as it was listed: where anything has changed since, nothing is done."""

    conflict: Conflict
    keep: Keep
    over: tuple[tuple[tuple[int, int], ...], ...] = ()  # with "here": the versions that give way


class Conflicts(Document, frozen=True, tag="conflicts", tag_field="reply"):
    """A node's answer to `conflicts`."""

    conflicts: tuple[Conflict, ...]  # at most MAX_LISTED
    more: int  # that weren't listed
    replicas: dict[str, int]  # path: replica id, so that versions can be read


class Resolved(Document, frozen=True, tag="resolved", tag_field="reply"):
    """A node's answer to `resolve`: it is done here, and its peers hear of it."""

    moved_to: str = ""  # the copy's ordinary name; only with "both"
