"""Layered settings: which layer has the last word on each field of an edge.

From weakest to strongest: built-in, topology defaults, graph, overrides in order, explicit edge. A field
takes the value of the strongest layer that sets it; filters and conflict rules of all layers are joined,
weakest first, since a later rule outweighs an earlier one. Every value remembers its layer, which is what
`explain` shows.

Some fields mean something only beside another one (`debounce` only where the mode is continuous). One that
was inherited from a weaker layer than the mode's is left out in silence: that is what overriding a mode
means. One that was written at the mode's own layer or above it is a `misfit`; `checks` decides whether to
complain. Must not know edges, nodes or shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from orchestrator.model.documents import Where
from schemas.errors import Place
from schemas.plans import (
    DEFAULT_RETENTION,
    ConflictPlan,
    ConflictRule,
    Deletes,
    Direction,
    FilterRule,
    GuardPlan,
    ReplicationPlan,
    RetentionPlan,
    SyncPlan,
    TargetChanges,
)
from schemas.text import parse_duration, parse_size
from schemas.topology import Filter, PathPolicy, Settings

LayerKind = Literal["built-in", "defaults", "graph", "override", "edge"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of settings, by the name that people know it by."""

    kind: LayerKind
    name: str
    settings: Settings
    where: Where | None  # None: built-in


BUILT_IN = Layer("built-in", "built-in", Settings(), None)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an edge's settings."""

    name: str  # as it is written, "sync.timeZone"
    attributes: tuple[str, ...]  # of Settings, ("sync", "time_zone")
    default: object
    read: Callable[[Any], object]  # from what is written to what a plan carries
    beside: tuple[str, str] | None = None  # means something only where that field has that value

    def written(self, settings: Settings) -> object:
        """What a layer says; None where it says nothing."""
        value: object = settings
        for attribute in self.attributes:
            if value is None:
                return None
            value = getattr(value, attribute)
        return value


def _default(plan: type, attribute: str) -> object:
    """The built-in default, which stands in the plan's own type."""
    return next(field.default for field in msgspec.structs.fields(plan) if field.name == attribute)


def _same(value: object) -> object:
    return value


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("sync.mode", ("sync", "mode"), _default(SyncPlan, "mode"), _same),
        Field("sync.schedule", ("sync", "schedule"), None, _same, ("sync.mode", "scheduled")),
        Field(
            "sync.timeZone",
            ("sync", "time_zone"),
            _default(SyncPlan, "time_zone"),
            _same,
            ("sync.mode", "scheduled"),
        ),
        Field(
            "sync.jitter",
            ("sync", "jitter"),
            _default(SyncPlan, "jitter_s"),
            parse_duration,
            ("sync.mode", "scheduled"),
        ),
        Field(
            "sync.debounce",
            ("sync", "debounce"),
            _default(SyncPlan, "debounce_s"),
            parse_duration,
            ("sync.mode", "continuous"),
        ),
        Field(
            "sync.rescan",
            ("sync", "rescan"),
            _default(SyncPlan, "rescan_s"),
            parse_duration,
            ("sync.mode", "continuous"),
        ),
        Field("conflict.policy", ("conflict", "policy"), _default(ConflictPlan, "policy"), _same),
        Field("conflict.prefer", ("conflict", "prefer"), None, _same, ("conflict.policy", "prefer")),
        Field("deletes", ("deletes",), _default(ReplicationPlan, "deletes"), _same),
        Field(
            "targetChanges",
            ("target_changes",),
            _default(ReplicationPlan, "target_changes"),
            _same,
            ("direction", "one-way"),
        ),
        Field(
            "retention.deleted",
            ("retention", "deleted"),
            _default(RetentionPlan, "deleted_s"),
            parse_duration,
        ),
        Field("retention.versions", ("retention", "versions"), _default(RetentionPlan, "versions"), _same),
        Field("retention.size", ("retention", "size"), _default(RetentionPlan, "size_bytes"), parse_size),
        Field("guards.maxDelete", ("guards", "max_delete"), _default(GuardPlan, "max_delete"), str),
        Field("guards.requireMarker", ("guards", "require_marker"), False, _same),
    )
}


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one field, and the layer that set it."""

    field: str
    value: object  # as a plan carries it: durations in seconds
    layer: Layer
    key: tuple[str | int, ...]  # below the layer's own place
    unused_because: str = ""  # set but without effect, and why
    misfit: bool = False  # unused though it was written as strongly as what makes it so

    @property
    def place(self) -> Place | None:
        """Where it was written; None for a built-in value."""
        return self.layer.where.at(*self.key).place if self.layer.where else None


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of an edge, as its plan carries them, and where each came from."""

    sync: SyncPlan
    filters: tuple[FilterRule, ...]
    conflict: ConflictPlan
    deletes: Deletes
    target_changes: TargetChanges
    retention: RetentionPlan
    guards: GuardPlan
    settings: tuple[Setting, ...]  # one for each field, in the order of FIELDS, then the lists' items


def resolve(layers: tuple[Layer, ...], direction: Direction) -> Effective:
    """The effective settings of an edge with these layers, weakest first."""
    ranks: dict[str, int] = {}
    settings: dict[str, Setting] = {}
    for field in FIELDS.values():
        settings[field.name], ranks[field.name] = _strongest(field, layers)
    for field in FIELDS.values():
        if ranks[field.name] and field.beside:
            settings[field.name] = _fitted(field, settings, ranks, direction)
    filters = [
        _item("filters", position, _rule(written), layer)
        for layer in layers
        for position, written in enumerate(layer.settings.filters or ())
    ]
    path_policies = [
        _item("conflict.rules", position, _path_policy(written), layer)
        for layer in layers
        if layer.settings.conflict
        for position, written in enumerate(layer.settings.conflict.rules or ())
    ]
    value = {
        name: FIELDS[name].default if setting.unused_because else setting.value
        for name, setting in settings.items()
    }
    return Effective(
        SyncPlan(
            mode=value["sync.mode"],  # type: ignore[arg-type]  # each value came through its own typed key
            schedule=value["sync.schedule"],  # type: ignore[arg-type]
            time_zone=value["sync.timeZone"],  # type: ignore[arg-type]
            jitter_s=value["sync.jitter"],  # type: ignore[arg-type]
            debounce_s=value["sync.debounce"],  # type: ignore[arg-type]
            rescan_s=value["sync.rescan"],  # type: ignore[arg-type]
        ),
        tuple(setting.value for setting in filters),  # type: ignore[misc]
        ConflictPlan(
            value["conflict.policy"],  # type: ignore[arg-type]
            value["conflict.prefer"],  # type: ignore[arg-type]
            tuple(setting.value for setting in path_policies),  # type: ignore[misc]
        ),
        value["deletes"],  # type: ignore[arg-type]
        value["targetChanges"],  # type: ignore[arg-type]
        _retention(value),
        GuardPlan(value["guards.maxDelete"], value["guards.requireMarker"]),  # type: ignore[arg-type]
        (*settings.values(), *path_policies, *filters),
    )


def _retention(value: dict[str, object]) -> RetentionPlan:
    """The default is always the one object, which a plan's text leaves out: so it reads as it did without."""
    retention = RetentionPlan(
        value["retention.deleted"],  # type: ignore[arg-type]
        value["retention.versions"],  # type: ignore[arg-type]
        value["retention.size"],  # type: ignore[arg-type]
    )
    return DEFAULT_RETENTION if retention == DEFAULT_RETENTION else retention


def _strongest(field: Field, layers: tuple[Layer, ...]) -> tuple[Setting, int]:
    """The setting of the strongest layer that has the field, and that layer's rank; 0 is built-in."""
    for rank in range(len(layers) - 1, 0, -1):
        written = field.written(layers[rank].settings)
        if written is not None:
            key = tuple(field.name.split("."))
            return Setting(field.name, field.read(written), layers[rank], key), rank
    return Setting(field.name, field.default, BUILT_IN, ()), 0


def _fitted(
    field: Field, settings: dict[str, Setting], ranks: dict[str, int], direction: Direction
) -> Setting:
    """The field's setting, marked where what it stands beside leaves it without effect."""
    assert field.beside is not None
    other, wanted = field.beside
    setting = settings[field.name]
    if other == "direction":
        # A graph or an edge has its direction written beside its settings; defaults are for all of them.
        actual: object = direction
        misfit = setting.layer.kind != "defaults"
    else:
        actual = settings[other].value
        misfit = ranks[field.name] >= ranks[other]
    if actual == wanted:
        return setting
    return Setting(
        setting.field, setting.value, setting.layer, setting.key, f"{other} is {actual}", misfit=misfit
    )


def _item(field: str, position: int, value: FilterRule | ConflictRule, layer: Layer) -> Setting:
    """One item of a list that all layers add to."""
    return Setting(field, value, layer, (*field.split("."), position))


def _path_policy(written: PathPolicy) -> ConflictRule:
    return ConflictRule(written.paths, written.policy, written.prefer)


def _rule(written: Filter) -> FilterRule:
    if written.exclude is not None:
        return FilterRule("exclude", written.exclude)
    assert written.include is not None  # the schema lets exactly one of the two through
    return FilterRule("include", written.include)
