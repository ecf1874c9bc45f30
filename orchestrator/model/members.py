"""From written endpoints and selections to replicas.

Decides which replicas "branch-[01:40]:/data" and `{selector: role=branch, path: /data}` stand for, and
the normal form of a path. Must not know shapes. Problems are collected, one for each written text, however
many names a range has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.model.documents import Where
from orchestrator.model.topology import Node, Replica
from schemas.errors import Problem
from schemas.text import Selector, expand_range, fill_template, nearest, parse_endpoint, parse_selector
from schemas.topology import Endpoints, Selection

# The nearest of 5,000 names takes some 50 ms to find: fine for a page of typing errors, not for a wrong file.
MAX_SPELLINGS = 20


def normal_path(path: str) -> str:
    """The one form of a path: no doubled or trailing slash, no "." names.

    ".." is a `ValueError`: what it means depends on links that only the node can see.
    """
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError(f'the path "{path}" holds ".."')
    if path.startswith("/"):
        return "/" + "/".join(names)
    if path.startswith("~/"):
        return "~/" + "/".join(names[1:])
    raise ValueError(f'the path "{path}" is relative')


@dataclass(slots=True)
class Members:
    """Reads endpoints and selections over one fleet."""

    nodes: Mapping[str, Node]
    problems: list[Problem]
    _spellings: int = field(default=0)

    def select(self, text: str, where: Where) -> list[Node]:
        """The nodes that a selector picks, sorted by name."""
        try:
            selector = parse_selector(text)
        except ValueError as error:
            self.problems.append(Problem("bad-selector", str(error), where.place, text))
            return []
        found = [node for node in self.nodes.values() if selector.matches(node.labels)]
        if not found:
            self.problems.append(
                Problem(
                    "empty-selector",
                    f'the selector "{text}" matches no node of the inventory',
                    where.place,
                    text,
                    self._selector_hint(selector),
                )
            )
        return found

    def replicas(self, written: Endpoints, where: Where) -> tuple[Replica, ...]:
        """The replicas of a selection (sorted by node) or of a list of endpoints (in its order)."""
        if isinstance(written, Selection):
            nodes = self.select(written.selector, where.at("selector"))
            return self._on(nodes, written.path, where.at("path"))
        return tuple(
            replica
            for position, text in enumerate(written)
            for replica in self.endpoint(text, where.at(position))
        )

    def endpoint(
        self, text: str, where: Where, more_values: Mapping[str, str] | None = None
    ) -> tuple[Replica, ...]:
        """The replicas of "node:/path", where the node may be a range."""
        try:
            written_node, path = parse_endpoint(text)
            names = expand_range(written_node)
        except ValueError as error:
            self.problems.append(Problem("bad-endpoint", str(error), where.place, text))
            return ()
        unknown = [name for name in names if name not in self.nodes]
        if unknown:
            self._report_unknown(unknown, text, where)
        known = [self.nodes[name] for name in names if name in self.nodes]
        return self._on(known, path, where, more_values)

    def one(self, text: str, where: Where) -> Replica | None:
        """The single replica of an endpoint that may not be a range."""
        found = self.endpoint(text, where)
        if len(found) > 1:
            self.problems.append(
                Problem(
                    "too-many-replicas",
                    f'"{text}" names {len(found):,} nodes where one is wanted',
                    where.place,
                    text,
                    f'name one node, as in "{found[0]}"',
                )
            )
            return None
        return found[0] if found else None

    def _on(
        self, nodes: list[Node], path: str, where: Where, more_values: Mapping[str, str] | None = None
    ) -> tuple[Replica, ...]:
        """The replica at `path` on each node; `path` may hold templates."""
        found = []
        for node in nodes:
            try:
                found.append(Replica(node.name, normal_path(_filled(path, node, more_values))))
            except ValueError as error:
                self.problems.append(_path_problem(path, node, where, error))
                break
        return tuple(found)

    def _selector_hint(self, selector: Selector) -> str:
        """What the labels hold instead of the first requirement that nothing satisfies."""
        if not self.nodes:
            return "no inventory was loaded; name its file under spec.inventory"
        for requirement in selector.requirements:
            if any(requirement.holds(node.labels) for node in self.nodes.values()):
                continue
            values = {
                node.labels[requirement.key] for node in self.nodes.values() if requirement.key in node.labels
            }
            if values:
                listed = ", ".join(sorted(values)[:8])
                return f'the label "{requirement.key}" has the values {listed}'
            keys = sorted({key for node in self.nodes.values() for key in node.labels})
            near = nearest(requirement.key, keys)
            if near:
                return f'no node has the label "{requirement.key}"; did you mean "{near}"?'
            return (
                f'no node has the label "{requirement.key}"; labels in use: {", ".join(keys[:8]) or "none"}'
            )
        return "each of its terms matches some node, but no node matches all of them"

    def _report_unknown(self, unknown: list[str], text: str, where: Where) -> None:
        if not self.nodes:
            hint = "no inventory was loaded; name its file under spec.inventory"
        else:
            self._spellings += 1
            near = nearest(unknown[0], self.nodes) if self._spellings <= MAX_SPELLINGS else ""
            hint = f'did you mean "{near}"?' if near else "add it to an inventory, or correct the name"
        more = f" (and {len(unknown) - 1:,} more of this range)" if len(unknown) > 1 else ""
        self.problems.append(
            Problem(
                "unknown-node",
                f'no inventory has a node "{unknown[0]}"{more}',
                where.place,
                text,
                hint,
            )
        )


def _filled(path: str, node: Node, more_values: Mapping[str, str] | None) -> str:
    if "$(" not in path:
        return path
    labels = {f"label.{key}": value for key, value in node.labels.items()}
    return fill_template(path, {"name": node.name, **labels, **(more_values or {})})


def _path_problem(path: str, node: Node, where: Where, error: ValueError) -> Problem:
    if "$(" in str(error):
        hint = f"the labels of {node.name} are {', '.join(sorted(node.labels)) or 'none'}"
        return Problem("bad-template", f'on the node "{node.name}", {error}', where.place, path, hint)
    if ".." in path.split("/"):
        return Problem("parent-in-path", str(error), where.place, path, "write the path without it")
    hint = 'write an absolute path as in "/data", or "~/data" below the runtime\'s home'
    return Problem("relative-path", str(error), where.place, path, hint)
