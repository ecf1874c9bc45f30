"""What people write: Topology and Inventory documents, typed.

These mirror `topology.schema.json` and `inventory.schema.json` key for key. The schema gives people
messages with places; these types give code its fields. A key stands here only when what it asks for works.

Settings are layered, so every field of `Settings` may be absent: absent means "as the layer below says".
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.plans import ConflictPolicy, Deletes, Mode, TargetChanges

Shape = Literal["one-way", "bidirectional", "hub-and-spoke", "full-mesh", "tree", "chain", "ring"]
Access = Literal["sshd", "runtime", "local"]


class Written(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything that people write."""


class Metadata(Written, frozen=True):
    """The name that ids are made from."""

    name: str


class SyncSettings(Written, frozen=True):
    """When an edge runs. Durations as "500ms", "2s", "10m", "1h", "30d"."""

    mode: Mode | None = None
    schedule: str | None = None
    time_zone: str | None = None
    jitter: str | None = None
    debounce: str | None = None
    rescan: str | None = None


class Filter(Written, frozen=True):
    """One gitignore-style rule: exactly one of the two keys is set."""

    exclude: str | None = None
    include: str | None = None


class PathPolicy(Written, frozen=True):
    """What becomes of concurrent edits of the paths that match."""

    paths: str  # a gitignore pattern
    policy: ConflictPolicy
    prefer: str | None = None  # node name; with policy "prefer"


class ConflictSettings(Written, frozen=True):
    """What becomes of concurrent edits. A layer's `rules` are put behind those of the layers below it."""

    policy: ConflictPolicy | None = None
    prefer: str | None = None  # node name; with policy "prefer"
    rules: tuple[PathPolicy, ...] | None = None


class RetentionSettings(Written, frozen=True):
    """What is kept of overwritten and deleted content."""

    deleted: str | None = None  # duration
    versions: int | None = None
    size: str | None = None  # as "10GiB", or "unlimited"


class GuardSettings(Written, frozen=True):
    """What stops before much is deleted."""

    max_delete: int | str | None = None  # files, or a share of them: 500, "25%"
    require_marker: bool | None = None


class Settings(Written, frozen=True):
    """One layer of edge settings. A layer's `filters` are put behind those of the layers below it."""

    sync: SyncSettings | None = None
    filters: tuple[Filter, ...] | None = None
    conflict: ConflictSettings | None = None
    deletes: Deletes | None = None
    target_changes: TargetChanges | None = None
    retention: RetentionSettings | None = None
    guards: GuardSettings | None = None


class Selection(Written, frozen=True):
    """Nodes picked by label: "role=branch,link!=lte"; `path` may hold $(name) and $(label.KEY)."""

    selector: str
    path: str


class Tier(Written, frozen=True):
    """One level of a tree: each parent above gets up to `fanout` children, within its zone first."""

    selector: str
    path: str
    fanout: int | None = None  # None: spread evenly
    zone_key: str | None = None  # label; children go to parents that share its value


Endpoints = Selection | tuple[str, ...]  # "node:/path", ranges as "branch-[01:40]:/data"


class Graph(Settings, frozen=True, kw_only=True):
    """One shape over one set of replicas. Which keys belong to which shape: `SHAPE_KEYS`."""

    name: str
    shape: Shape
    source: str | None = None
    target: str | None = None
    between: tuple[str, str] | None = None
    hub: str | None = None
    spokes: Endpoints | None = None
    members: Endpoints | None = None
    root: str | None = None
    tiers: tuple[Tier, ...] | None = None
    nodes: Endpoints | None = None
    direction: str | None = None


# shape: (required keys, directions that it accepts, the first being the default)
SHAPE_KEYS: dict[Shape, tuple[frozenset[str], tuple[str, ...]]] = {
    "one-way": (frozenset({"source", "target"}), ()),
    "bidirectional": (frozenset({"between"}), ()),
    "hub-and-spoke": (frozenset({"hub", "spokes"}), ("both", "to-hub", "to-spokes")),
    "full-mesh": (frozenset({"members"}), ()),
    "tree": (frozenset({"root", "tiers"}), ("to-leaves", "to-root", "both")),
    "chain": (frozenset({"nodes"}), ("forward", "both")),
    "ring": (frozenset({"nodes"}), ("both", "forward")),
}


class EdgeSpec(Settings, frozen=True, kw_only=True):
    """A single edge, written out. Its settings are the strongest layer."""

    source: str
    target: str
    direction: Literal["one-way", "two-way"] = "one-way"


class Match(Written, frozen=True):
    """Which edges an override is for; all that is given must hold."""

    graph: str | None = None  # graph name
    edge: str | None = None  # glob over edge ids
    source: str | None = None  # selector on the source node
    target: str | None = None  # selector on the target node


class Override(Written, frozen=True):
    """Settings for the edges that match, applied in order, later ones stronger."""

    name: str
    match: Match
    set: Settings


class TopologySpec(Written, frozen=True):
    """The body of a Topology."""

    inventory: tuple[str, ...] = ()  # files, relative to this one
    defaults: Settings = Settings()
    graphs: tuple[Graph, ...] = ()
    edges: tuple[EdgeSpec, ...] = ()
    overrides: tuple[Override, ...] = ()


class Topology(Written, frozen=True):
    """A named set of graphs over one fleet."""

    api_version: Literal["syncgraph/v1"]
    kind: Literal["Topology"]
    metadata: Metadata
    spec: TopologySpec


class Ssh(Written, frozen=True):
    """How the orchestrator reaches a node over the system's sshd; ~/.ssh/config applies beneath."""

    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    known_hosts: str | None = None  # file; default: the user's
    jump: str | None = None  # [user@]host[:port]
    command: str | None = None  # the node runtime's program; default "syncgraph-node"


class Runtime(Written, frozen=True):
    """Where a node's runtime lives and listens."""

    port: int | None = None  # default 7722
    address: str | None = None  # where peers dial it; default: the node's address
    state: str | None = None  # state directory on the node; default: the runtime's own default
    host_key: str | None = (
        None  # "ssh-ed25519 AAAA…", checked before the node has a certificate; access "runtime" only
    )


class NodeDefaults(Written, frozen=True):
    """What nodes have in common. Keys given at a node win, key by key."""

    access: Access | None = None
    ssh: Ssh = Ssh()
    runtime: Runtime = Runtime()
    labels: dict[str, str] = {}


class NodeSpec(NodeDefaults, frozen=True, kw_only=True):
    """One node, or a range of them as "branch-[01:40]"; $(name) stands for each name in its texts."""

    name: str
    address: str | None = None  # host name or IP; None: no one can dial this node


class InventorySpec(Written, frozen=True):
    """The body of an Inventory."""

    defaults: NodeDefaults = NodeDefaults()
    nodes: tuple[NodeSpec, ...] = ()


class Inventory(Written, frozen=True):
    """A named set of nodes."""

    api_version: Literal["syncgraph/v1"]
    kind: Literal["Inventory"]
    metadata: Metadata
    spec: InventorySpec
