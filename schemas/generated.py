"""The schemas of what machines exchange, made from their types.

`node-plan` and `status` are typed first (`schemas.plans`, `schemas.status`); their JSON Schemas (2020-12) are
kept beside them for readers and other programs. `python -m schemas.generated` writes them anew; a test holds
them equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from schemas.plans import NodePlan
from schemas.status import NodeStatus

GENERATED: dict[str, tuple[type[msgspec.Struct], str]] = {
    "node-plan": (NodePlan, "syncgraph node plan"),
    "status": (NodeStatus, "syncgraph node status"),
}


def generate(name: str) -> str:
    """The schema's text, as it is shipped."""
    document, title = GENERATED[name]
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **msgspec.json.schema(document),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def write_all(directory: Path) -> None:
    """Write every generated schema into a directory."""
    for name in GENERATED:
        (directory / f"{name}.schema.json").write_text(generate(name), encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(__file__).parent)
