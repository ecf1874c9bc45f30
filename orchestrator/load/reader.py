"""YAML text to plain data with places. The only door to PyYAML.

Decides what of YAML is taken: mappings with text keys, lists, scalars, anchors, aliases and `<<` merges. It
reads libyaml's events with a stack of its own, so that no nesting can exhaust the interpreter's: depth is
limited, an alias inside its own anchor is refused, and what aliases would multiply is counted, never
expanded. Must not know what the documents mean: next, `orchestrator.load.documents`. How a scalar is read:
`orchestrator.load.scalars`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml._yaml import CParser

from orchestrator.load.places import Places, Spot
from orchestrator.load.scalars import plain_value
from orchestrator.load.syntax import syntax_problem
from schemas.errors import Place, Problem
from schemas.text import nearest

MAX_DEPTH = 64  # the deepest document that the schemas accept has 8 levels
MAX_NODES = 1_000_000  # values of a document, aliases counted as if written out

_STANDARD_TAGS = "tag:yaml.org,2002:"


@dataclass(slots=True)
class RawDocument:
    """One YAML document, as data."""

    value: Any  # dict, list, str, int, float, bool, None
    places: Places
    empty: bool = False  # nothing but comments
    problems: list[Problem] = field(default_factory=list)


class _Refused(Exception):
    """The rest of the file can't be read. Who acts: `read_yaml`, which notes the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Container:
    """An open mapping or list. `key` and its spot are set while a mapping waits for the key's value."""

    __slots__ = ("anchor", "key", "key_spot", "merges", "nodes", "spot", "value")

    def __init__(self, value: Any, spot: Spot, anchor: str | None) -> None:
        self.value = value
        self.spot = spot
        self.anchor = anchor
        self.key: str | None = None
        self.key_spot = spot
        self.merges: list[tuple[Any, Spot]] = []
        self.nodes = 1


def read_yaml(text: str, file: str) -> tuple[list[RawDocument], list[Problem]]:
    """The documents of a YAML text, and what keeps the rest of it from being read."""
    documents: list[RawDocument] = []
    try:
        parser = CParser(text)
        while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                documents.append(_Builder(file).read(parser))
    except yaml.YAMLError as error:
        return documents, [syntax_problem(error, text, file)]
    except _Refused as refused:
        return documents, [refused.problem]
    return documents, []


class _Builder:
    """Builds one document from the events up to its end."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Container] = []
        self._anchors: dict[str, tuple[Any, Spot, int]] = {}
        self._open_anchors: set[str] = set()
        self._problems: list[Problem] = []
        self._top: tuple[Any, Spot] | None = None
        self._empty = False

    def read(self, parser: Any) -> RawDocument:
        while not isinstance(event := parser.get_event(), yaml.DocumentEndEvent):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event)
            else:
                self._end()
        assert self._top is not None  # libyaml gives every document one node
        value, spot = self._top
        return RawDocument(value, Places(self._file, spot), self._empty, self._problems)

    def _scalar(self, event: Any) -> None:
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        plain = event.style in ("", None)
        self._check_tag(event, spot, ("str", "int", "float", "bool", "null"))
        value: Any = event.value
        if plain and event.tag != _STANDARD_TAGS + "str":
            spot.written = event.value
            value = plain_value(event.value)
        if not self._open:
            self._empty = plain and event.value == "" and event.anchor is None
        self._add(value, spot, 1, event.anchor, key=event.value, merge=plain and event.value == "<<")

    def _alias(self, event: Any) -> None:
        name = event.anchor
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        if name in self._open_anchors:
            message = f'"*{name}" stands inside what "&{name}" names, so that it would hold itself'
            raise _Refused(
                self._problem("cyclic-alias", message, spot, f"*{name}", "name a part outside of it")
            )
        if name not in self._anchors:
            close = nearest(name, self._anchors)
            hint = f'did you mean "*{close}"?' if close else "quote a text that starts with an asterisk"
            raise _Refused(
                self._problem(
                    "unknown-alias", f'no "&{name}" stands before "*{name}"', spot, f"*{name}", hint
                )
            )
        value, named, nodes = self._anchors[name]
        # a key is a text: a scalar that is aliased as one is read as it was written
        text = named.written if named.written is not None else value
        self._add(value, named, nodes, None, key=text if isinstance(text, str) else None, at=spot)

    def _start(self, event: Any) -> None:
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._check_tag(event, spot, ("map",) if mapping else ("seq",))
        if len(self._open) >= MAX_DEPTH:
            message = f"the document is nested more than {MAX_DEPTH} levels deep"
            raise _Refused(self._problem("too-deep", message, spot, "", "no document needs more than 8"))
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise _Refused(self._complex_key(spot))
        if event.anchor is not None:
            self._open_anchors.add(event.anchor)
        self._open.append(_Container({} if mapping else [], spot, event.anchor))

    def _end(self) -> None:
        container = self._open.pop()
        for value, spot in container.merges:
            self._merge(container, value, spot)
        if container.anchor is not None:
            self._open_anchors.discard(container.anchor)
        self._add(container.value, container.spot, container.nodes, container.anchor)

    def _add(
        self,
        value: Any,
        spot: Spot,
        nodes: int,
        anchor: str | None,
        *,
        key: str | None = None,
        merge: bool = False,
        at: Spot | None = None,
    ) -> None:
        """Put a finished value where it belongs.

        `key` is its text if it can be a key; `at`, where its alias stands.
        """
        if anchor is not None:
            self._anchors[anchor] = (value, spot, nodes)
        if not self._open:
            self._top = (value, spot)
            return
        parent = self._open[-1]
        parent.nodes += nodes
        if parent.nodes > MAX_NODES:
            message = f"the document holds more than {MAX_NODES:,} values, those repeated by aliases included"
            raise _Refused(self._problem("too-large", message, at or spot, "", "write it with fewer aliases"))
        if isinstance(parent.value, list):
            parent.spot.children[len(parent.value)] = spot
            parent.value.append(value)
        elif parent.key is None:
            if key is None:
                raise _Refused(self._complex_key(at or spot))
            parent.key = key
            parent.key_spot = at or spot
            if merge:
                parent.key_spot.written = "<<"
        else:
            self._put(parent, value, spot)

    def _put(self, parent: _Container, value: Any, spot: Spot) -> None:
        key, key_spot = parent.key, parent.key_spot
        assert key is not None
        parent.key = None
        if key == "<<" and key_spot.written == "<<":
            parent.merges.append((value, spot))
            return
        if key in parent.value:
            first = parent.spot.children[key]
            self._problems.append(
                self._problem(
                    "duplicate-key",
                    f'the key "{key}" is given twice',
                    key_spot,
                    key,
                    f"keep one; the first stands in line {first.key_line}",
                )
            )
            return
        parent.spot.children[key] = spot.under_key(key_spot.line, key_spot.column)
        parent.value[key] = value

    def _merge(self, container: _Container, value: Any, spot: Spot) -> None:
        """Take in what `<<` names, for keys that aren't there yet (yaml.org/type/merge.html)."""
        sources = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, source in sources:
            source_spot = spot if index is None else spot.children[index]
            if not isinstance(source, dict):
                self._problems.append(
                    self._problem(
                        "bad-merge",
                        '"<<" takes a mapping, or a list of mappings',
                        source_spot,
                        "",
                        'as in "<<: *common"',
                    )
                )
                continue
            for key, each in source.items():
                if key not in container.value:
                    container.value[key] = each
                    container.spot.children[key] = source_spot.children[key]

    def _check_tag(self, event: Any, spot: Spot, accepted: tuple[str, ...]) -> None:
        tag = event.tag
        if tag is None or tag == "!" or tag.removeprefix(_STANDARD_TAGS) in accepted:
            return
        shown = "!!" + tag.removeprefix(_STANDARD_TAGS) if tag.startswith(_STANDARD_TAGS) else tag
        self._problems.append(
            self._problem("unknown-tag", f'the tag "{shown}" is not known here', spot, shown, "leave it out")
        )

    def _complex_key(self, spot: Spot) -> Problem:
        hint = 'write a text before the colon, and quote what starts with "[" or "{"'
        return self._problem("bad-key", "a key can't be a mapping or a list", spot, "", hint)

    def _problem(self, code: str, message: str, spot: Spot, value: str, hint: str) -> Problem:
        return Problem(code, message, Place(self._file, spot.line, spot.column), value, hint)
