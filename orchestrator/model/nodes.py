"""From inventories to nodes: defaults merged beneath, ranges expanded, templates filled.

Decides what a node's every key is. Must not know topologies. Problems are collected, never raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from orchestrator.model.documents import LoadedInventory, Where
from orchestrator.model.topology import Node
from schemas.control import DEFAULT_PORT
from schemas.errors import Problem
from schemas.text import expand_range, fill_template
from schemas.topology import NodeDefaults, NodeSpec, Runtime, Ssh

DEFAULT_COMMAND = "syncgraph-node"

Keys = TypeVar("Keys", Ssh, Runtime)


def expand_nodes(inventories: Iterable[LoadedInventory], problems: list[Problem]) -> dict[str, Node]:
    """Every node of every inventory by name, sorted."""
    nodes: dict[str, Node] = {}
    clashes: dict[Where, list[str]] = {}
    for loaded in inventories:
        spec = loaded.document.spec
        for position, written in enumerate(spec.nodes):
            where = Where(loaded.places, ("spec", "nodes", position))
            for node in _nodes(written, spec.defaults, where, problems):
                if node.name in nodes:
                    clashes.setdefault(where, []).append(node.name)
                else:
                    nodes[node.name] = node
    for where, names in clashes.items():
        first = nodes[names[0]]
        more = f" (and {len(names) - 1:,} more of this range)" if len(names) > 1 else ""
        problems.append(
            Problem(
                "duplicate-node",
                f'the node "{names[0]}" is already in the inventory, at {first.where.place}{more}',
                where.at("name").place,
                names[0],
                "every node stands in exactly one inventory, once; rename it or narrow the range",
            )
        )
    return dict(sorted(nodes.items()))


def _nodes(
    written: NodeSpec, defaults: NodeDefaults, where: Where, problems: list[Problem]
) -> Iterator[Node]:
    try:
        names = expand_range(written.name)
    except ValueError as error:
        problems.append(Problem("bad-range", str(error), where.at("name").place, written.name))
        return
    ssh = _merged(Ssh(command=DEFAULT_COMMAND), defaults.ssh, written.ssh)
    runtime = _merged(Runtime(port=DEFAULT_PORT), defaults.runtime, written.runtime)
    labels = {**defaults.labels, **written.labels}
    access = written.access or defaults.access or "sshd"
    for name in names:
        try:
            named = {"name": name}
            own_labels = {key: fill_template(value, named) for key, value in labels.items()}
            values = {**named, **{f"label.{key}": value for key, value in own_labels.items()}}
            yield Node(
                name=name,
                address=fill_template(written.address, values) if written.address else None,
                labels=own_labels,
                access=access,
                ssh=_filled(ssh, values),
                runtime=_filled(runtime, values),
                where=where,
            )
        except ValueError as error:
            problems.append(
                Problem(
                    "bad-template",
                    f'the node "{name}" has a template that can\'t be filled: {error}',
                    where.place,
                    written.name,
                    "known are $(name) and $(label.KEY) of the node's own labels",
                )
            )
            return


def _merged(*layers: Keys) -> Keys:
    """Key by key, the last layer that says something."""
    merged = layers[0]
    for layer in layers[1:]:
        said = {name: value for name, value in msgspec.structs.asdict(layer).items() if value is not None}
        merged = msgspec.structs.replace(merged, **said)
    return merged


def _filled(keys: Keys, values: Mapping[str, str]) -> Keys:
    """The same keys with templates filled; the very same object where there are none."""
    filled = {
        name: fill_template(value, values)
        for name, value in msgspec.structs.asdict(keys).items()
        if isinstance(value, str) and "$(" in value
    }
    return msgspec.structs.replace(keys, **filled) if filled else keys
