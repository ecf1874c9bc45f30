"""The control conversation: how an orchestrator talks to one node runtime.

One request per line of JSON, one reply per line, over any byte stream: the runtime's own SSH port
(subsystem `CONTROL_SUBSYSTEM`), or the Unix socket in the node's state directory, reached directly or
through `syncgraph-node control` over the system's sshd.

Only public keys and certificates ever cross it.
"""

from __future__ import annotations

import msgspec

from schemas.conflicts import Conflicts, ListConflicts, ResolveConflict, Resolved
from schemas.kept import KeptVersions, ListVersions, Restore, Restored
from schemas.plans import Document, SignedPlan
from schemas.status import NodeStatus

CONTROL_SUBSYSTEM = "syncgraph-control"
SESSION_SUBSYSTEM = "syncgraph-session"
ORCHESTRATOR_PRINCIPAL = "syncgraph-orchestrator"
DEFAULT_PORT = 7722
MAX_LINE_BYTES = 64 * 1024 * 1024  # a hub's plan of 10,000 edges is about 6 MB


class Identify(Document, frozen=True, tag="identify", tag_field="op"):
    """Who are you, and what do you run? Allowed before enrolment."""


class Enrol(Document, frozen=True, tag="enrol", tag_field="op"):
    """Join a fleet, or renew certificates in it. A node of another fleet refuses."""

    node: str
    authority: str  # the authority's public key, OpenSSH format
    user_certificate: str  # OpenSSH format
    host_certificate: str  # OpenSSH format


class Apply(Document, frozen=True, tag="apply", tag_field="op"):
    """Run this plan from now on."""

    signed: SignedPlan


class Approve(Document, frozen=True, tag="approve", tag_field="op"):
    """Let go what a guard of this edge holds back. Approving the same hold again changes nothing."""

    edge: str
    hold: str  # as `EdgeStatus.held` names it: what came to be held later stays


class Status(Document, frozen=True, tag="status", tag_field="op"):
    """Report everything."""


Request = (
    Identify | Enrol | Apply | Approve | Status | ListConflicts | ResolveConflict | ListVersions | Restore
)


class Identity(Document, frozen=True, tag="identity", tag_field="reply"):
    """A node's answer to `identify`. Name, authority and plan are empty before enrolment."""

    version: str
    public_key: str  # OpenSSH format; the node's one Ed25519 key, for user and host roles alike
    node: str = ""
    authority: str = ""
    generation: int = 0
    digest: str = ""
    plan: str = ""  # canonical text of the current plan, so that a difference can be shown edge by edge
    certificate_expires_at: float | None = None


class Accepted(Document, frozen=True, tag="accepted", tag_field="reply"):
    """The request was carried out, and its effect is durable."""

    generation: int = 0


class Report(Document, frozen=True, tag="report", tag_field="reply"):
    """A node's answer to `status`."""

    status: NodeStatus


class Refused(Document, frozen=True, tag="refused", tag_field="reply"):
    """The request was not carried out and nothing changed."""

    reason: str


Reply = Identity | Accepted | Report | Refused | Conflicts | Resolved | KeptVersions | Restored

decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode
