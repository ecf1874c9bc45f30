"""The JSON Schemas that are shipped with the package."""

from __future__ import annotations

from pathlib import Path


def schema_text(name: str) -> str:
    """The JSON Schema "topology", "inventory", "node-plan" or "status", as it is shipped."""
    return Path(__file__).with_name(f"{name}.schema.json").read_text(encoding="utf-8")
