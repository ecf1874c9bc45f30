"""A plan kept in a file: what was reviewed is what is applied, later and on another machine.

It carries all that applying needs, so that the documents aren't read again: the changes, the node plans,
the ways to the nodes, and the public key of the authority that was in force. It carries no secret. It
decides which files are fit to be applied; whether the world has moved on since is for
`orchestrator.plan.stale_because`.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.apply.access import NodeAccess
from orchestrator.errors import OperatorError
from orchestrator.plan import Plan, Summary
from schemas.plans import API_VERSION, Document, digest

KIND: Literal["SavedPlan"] = "SavedPlan"
HEAD_BYTES = 256  # hold the first two keys
_BEGINNING = re.compile(rb'\s*\{\s*"apiVersion"\s*:\s*"syncgraph/v1"\s*,\s*"kind"\s*:\s*"SavedPlan"')
MAX_PLAN_BYTES = 1024**3  # a fleet of 10,000 nodes saves about 20 MB


class SavedPlan(Document, frozen=True):
    """The file's content."""

    api_version: Literal["syncgraph/v1"]
    kind: Literal["SavedPlan"]
    made_at: float  # Unix time, seconds
    state: str  # the directory that held the authority, absolute, where the plan was made
    authority: str  # the authority's public key; "" where there was none yet
    nodes: tuple[NodeAccess, ...]  # every node of the plan, by name
    summary: Summary  # for programs that read the file; `plan` is what counts
    plan: Plan
    digest: str = ""  # SHA-256 of this document with an empty digest


def seal(
    plan: Plan, nodes: dict[str, NodeAccess], *, state: Path, authority_key: str, now: float
) -> SavedPlan:
    """The document that keeps `plan`."""
    document = SavedPlan(
        api_version=API_VERSION,
        kind=KIND,
        made_at=now,
        state=str(state.absolute()),
        authority=authority_key,
        nodes=tuple(nodes[name] for name in sorted(nodes)),
        summary=plan.summary,
        plan=plan,
    )
    return msgspec.structs.replace(document, digest=digest(document))


def save(path: Path, saved: SavedPlan) -> None:
    """Write a plan file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(saved), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OperatorError(f"can't write the plan to {path}: {error.strerror}") from None


def is_saved_plan(path: Path) -> bool:
    """Whether a path names a plan file, by how it begins, rather than documents to plan from."""
    try:
        with path.open("rb") as file:
            return _BEGINNING.match(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def load_saved(path: Path) -> SavedPlan:
    """Read a plan file, and refuse one that isn't as it was saved."""
    try:
        saved = msgspec.json.decode(_read(path), type=SavedPlan)
    except OSError as error:
        raise OperatorError(f"can't read the plan {path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise OperatorError(
            f"{path} isn't a plan that this version can apply ({error}); "
            f"make it again: syncgraph plan -o {path}"
        ) from None
    if saved.digest != digest(msgspec.structs.replace(saved, digest="")):
        raise OperatorError(f"{path} was changed after it was made; make it again: syncgraph plan -o {path}")
    return saved


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_PLAN_BYTES + 1)
    if len(content) > MAX_PLAN_BYTES:
        raise OperatorError(f"{path} is larger than {MAX_PLAN_BYTES} bytes; that is no plan")
    return content
