"""The plan store: which plan this node runs, and which it takes next.

It decides whether a pushed plan is genuine, meant for this node, and newer than the one that runs; then
it puts it in place so that a crash at any instruction leaves the old plan or the new one. It must not
know what a plan does. Safety rests on this module alone: whatever an orchestrator's database says, a node
checks for itself.

The order on disk: the envelope's file, synced; its name, synced; `current`, synced; `current`'s name, synced.
Read on in `plan_rules` (what a plan may say) and `node` (what becomes of it).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re

import msgspec

from node_runtime.daemon.identity import Identity
from node_runtime.daemon.layout import Layout, publish, sweep
from node_runtime.daemon.plan_rules import plan_refused_because
from node_runtime.errors import NodeError
from node_runtime.net import keys
from schemas.control import Accepted, Refused
from schemas.plans import NodePlan, SignedPlan, encode, signed_bytes

KEPT_PLANS = 10  # what an operator may want to look back at; a hub's can be 6 MB
MAX_GENERATION = 2**62

log = logging.getLogger(__name__)

_decode_plan = msgspec.json.Decoder(NodePlan).decode
_decode_signed = msgspec.json.Decoder(SignedPlan).decode
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PlanStore:
    """The plans of one node. Its attributes follow the disk; `accept` is the only way forward."""

    def __init__(self, layout: Layout, identity: Identity) -> None:
        self.signed: SignedPlan | None = None  # the envelope of the plan that runs
        self.plan: NodePlan | None = None  # what is in it
        self._layout = layout
        self._identity = identity

    @property
    def generation(self) -> int:
        """Of the plan that runs; 0 before the first."""
        return self.signed.generation if self.signed else 0

    @property
    def digest(self) -> str:
        """Of the plan that runs; "" before the first."""
        return self.signed.digest if self.signed else ""

    def load(self) -> None:
        """Read the current plan back. One of another authority, or for another name, is left alone."""
        plans = self._layout.plans
        if self._identity.credentials is None or not plans.is_dir():
            return
        sweep(plans)
        try:
            name = (plans / "current").read_text("ascii").strip()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None
        try:
            if not _DIGEST.fullmatch(name):
                raise ValueError("plans/current doesn't name a plan")
            signed = _decode_signed((plans / f"{name}.json").read_bytes())
            if signed.digest != name:
                raise ValueError("the plan's file holds another plan")
            checked = self._check(signed)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise self._damaged(str(error)) from None
        if isinstance(checked, str):
            log.warning("the stored plan isn't run digest=%s: %s", name, checked)
            return
        self.signed, self.plan = signed, checked

    def accept(self, signed: SignedPlan) -> Accepted | Refused:
        """Take a pushed plan, or say why not. When it is taken, it is durable."""
        checked = self._check(signed) if self.signed is None else self._newer(signed, self.signed)
        if checked is None:
            return Accepted(generation=self.generation)
        if isinstance(checked, str):
            log.warning(
                "refused plan generation=%d digest=%.64s: %s", signed.generation, signed.digest, checked
            )
            return Refused(checked)
        try:
            self._store(signed)
        except OSError as error:
            log.exception("can't store plan generation=%d", signed.generation)
            return Refused(f"the plan can't be stored in {self._layout.plans}: {error.strerror}")
        self.signed, self.plan = signed, checked
        log.info(
            "accepted plan generation=%d digest=%s edges=%d",
            signed.generation,
            signed.digest,
            len(checked.edges),
        )
        self._prune()
        return Accepted(generation=signed.generation)

    def _newer(self, signed: SignedPlan, current: SignedPlan) -> NodePlan | str | None:
        """As `_check`, beside the plan that runs; None: it is that plan, nothing is to be done."""
        checked = self._check(signed)
        if isinstance(checked, str) or signed.generation > current.generation:
            return checked
        if signed.generation < current.generation:
            return f"generation {signed.generation} is older than the current {current.generation}"
        if signed.digest != current.digest:
            return f"generation {signed.generation} is taken by another plan, {current.digest}"
        return None

    def _check(self, signed: SignedPlan) -> NodePlan | str:
        """The plan in a genuine envelope for this node, or what is wrong. Nothing unsigned is looked into."""
        credentials = self._identity.credentials
        if credentials is None:
            return "this node isn't enrolled"
        if signed.node != credentials.node:
            return f"the plan is for node {signed.node}, this is {credentials.node}"
        try:
            text = signed.plan.encode()
        except UnicodeEncodeError:
            return "the plan isn't valid UTF-8"
        if hashlib.sha256(text).hexdigest() != signed.digest:
            return "the plan's digest doesn't match its text"
        if not 0 < signed.generation <= MAX_GENERATION:
            return f"generation {signed.generation} is out of range"
        authority = keys.read_public_key(credentials.authority)
        said = signed_bytes(signed.node, signed.generation, signed.digest)
        if not keys.signature_holds(authority, said, signed.signature):
            return "the plan isn't signed by this node's authority"
        try:
            plan = _decode_plan(text)
        except msgspec.DecodeError as error:
            return f"the plan can't be read: {error}; is this node runtime older than the orchestrator?"
        home, state = os.path.expanduser("~"), os.path.abspath(self._layout.root)
        return plan_refused_because(plan, credentials.node, home, state) or plan

    def _store(self, signed: SignedPlan) -> None:
        plans = self._layout.plans
        plans.mkdir(mode=0o700, exist_ok=True)
        publish(plans / f"{signed.digest}.json", encode(signed))
        publish(plans / "current", signed.digest.encode() + b"\n")

    def _prune(self) -> None:
        """Keep the newest files and the current one; a failure here leaves too many, which harms nobody."""
        try:
            stored = [(path.stat().st_mtime_ns, path) for path in self._layout.plans.glob("*.json")]
            for _, path in sorted(stored)[:-KEPT_PLANS]:
                if path.stem != self.digest:
                    path.unlink()
        except OSError as error:
            log.warning("can't remove old plans: %s", error.strerror)

    def _damaged(self, reason: str) -> NodeError:
        return NodeError(
            f"the stored plan can't be used: {reason}; remove {self._layout.plans / 'current'}, "
            "start the node runtime again and apply again"
        )
