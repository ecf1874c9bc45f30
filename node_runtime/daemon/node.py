"""The running node: joins identity, plans, control, SSH, the schedule and the edges, and stops them again.

It decides the order in which an accepted plan takes hold: access first (connections of peers that are no
longer in the plan are closed), then the edges, then the answer. So when an orchestrator reads "accepted",
what was taken away is gone. It must not know how an edge replicates: that is its `Supervisor`'s.
Read on in `edges`, the supervisor that really runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from node_runtime.daemon.control import ControlConversation, ControlSocket
from node_runtime.daemon.identity import Identity, open_identity
from node_runtime.daemon.layout import Layout
from node_runtime.daemon.plans import PlanStore
from node_runtime.daemon.schedule import Schedules
from node_runtime.daemon.status import identity_of, status_of
from node_runtime.errors import NodeError
from node_runtime.net import admission, ssh
from node_runtime.net.keys import Credentials
from schemas.conflicts import ListConflicts, ResolveConflict
from schemas.control import (
    CONTROL_SUBSYSTEM,
    ORCHESTRATOR_PRINCIPAL,
    SESSION_SUBSYSTEM,
    Accepted,
    Apply,
    Approve,
    Enrol,
    Identify,
    Refused,
    Reply,
    Report,
    Request,
)
from schemas.kept import ListVersions, Restore
from schemas.plans import NodePlan, PeerAddress
from schemas.status import EdgeStatus, ReplicaStatus

log = logging.getLogger(__name__)

ProtocolFactory = Callable[[], asyncio.Protocol]
Dial = Callable[[str, ProtocolFactory], Awaitable[None]]  # peer node, what to put on the channel


class Supervisor(Protocol):
    """Whoever runs the edges of the current plan."""

    async def activate(self, plan: NodePlan) -> None:
        """Start, stop and change what differs; sessions of edges that are gone or changed are closed."""

    def incoming(self, peer_node: str) -> asyncio.Protocol:
        """What answers on a session channel that `peer_node` opened."""

    async def approve(self, edge: str, hold: str) -> str | None:
        """Let go what a guard of an edge holds back; the reason where there is nothing to let go."""

    def status(self) -> tuple[tuple[EdgeStatus, ...], tuple[ReplicaStatus, ...]]:
        """How the edges and the replicas are."""

    async def answer(self, request: ListConflicts | ResolveConflict) -> Reply:
        """Answer what is about the files of the edges. Raises NodeError."""

    async def kept(self, request: ListVersions | Restore) -> Reply:
        """What is kept of a path, or a part of it brought back."""

    async def stop(self) -> None:
        """End every session and put everything away."""


SupervisorFactory = Callable[[str, Path, Dial, Schedules], Supervisor]


class NodeRuntime:
    """One node, from start to stop. It is the `Gate` of its SSH server and answers its control requests."""

    def __init__(
        self, state: Path, listen: tuple[str, int], make_supervisor: SupervisorFactory | None = None
    ) -> None:
        self._layout = Layout(state.absolute())
        self._listen = listen
        self._make_supervisor = make_supervisor
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()  # one enrolment or plan at a time
        self._started_at = 0.0
        self._schedules = Schedules()
        self._dialler = ssh.Dialler(self._credentials, self._address_of)
        self._supervisor: Supervisor | None = None  # None before enrolment
        self._callers: frozenset[str] = frozenset()
        self._dialled: dict[str, PeerAddress] = {}
        self._identity: Identity
        self._plans: PlanStore
        self._server: ssh.Server

    async def run(self) -> None:
        """Serve until `stop` or a signal; then everything is put away in order."""
        self._layout.create()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._layout.lock())
            self._identity = open_identity(self._layout)
            self._plans = PlanStore(self._layout, self._identity)
            self._plans.load()
            self._started_at = time.time()
            self._stop_on_signals()
            self._schedules.start()
            stack.callback(self._schedules.stop)
            await self._open_port(stack)
            control = ControlSocket(self._layout, self.answer)
            stack.push_async_callback(control.close)
            await control.start()
            stack.push_async_callback(self._stop_edges)
            async with self._changing:
                await self._take_hold()
            _edge_supervisor()  # imported before anyone waits for it
            notify("READY=1")
            log.info("ready node=%s state=%s", self._name(), self._layout.root)
            await self._stopping.wait()
            notify("STOPPING=1")
            log.info("stopping")
        log.info("stopped")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    # The gate of the SSH server.

    def authority(self) -> str | None:
        """See `ssh.Gate`."""
        return self._identity.authority

    def admits(self, user: str) -> bool:
        """See `ssh.Gate`: the orchestrator, and the peers that dial an edge of the current plan."""
        return user == ORCHESTRATOR_PRINCIPAL or user in self._callers

    def subsystem(self, user: str, name: str) -> asyncio.Protocol | None:
        """See `ssh.Gate`: control is for the orchestrator alone, sessions are for peers alone."""
        if self._stopping.is_set():
            return None
        if name == CONTROL_SUBSYSTEM and user == ORCHESTRATOR_PRINCIPAL:
            return ControlConversation(self.answer, user)
        if name == SESSION_SUBSYSTEM and user in self._callers and self._supervisor is not None:
            return self._supervisor.incoming(user)
        log.warning("refused subsystem name=%.64r user=%s", name, user)
        return None

    # Control requests.

    async def answer(self, request: Request, caller: str) -> Reply:
        """Carry out one request, or refuse it and change nothing."""
        if isinstance(request, Identify):
            return identity_of(self._identity, self._plans)
        if isinstance(request, Enrol):
            async with self._changing:
                return await self._enrol(request, caller)
        if isinstance(request, Apply):
            async with self._changing:
                return await self._apply(request, caller)
        if isinstance(request, ListConflicts | ResolveConflict):
            if self._supervisor is None:
                return Refused("this node isn't enrolled, so it has no files to speak of")
            return await self._supervisor.answer(request)
        if isinstance(request, ListVersions | Restore):
            if self._supervisor is None:
                return Refused("this node has no plan yet, so it keeps nothing")
            return await self._supervisor.kept(request)
        if isinstance(request, Approve):
            if self._supervisor is None:
                return Refused("this node runs no plan yet; apply first")
            reason = await self._supervisor.approve(request.edge, request.hold)
            return Refused(reason) if reason else Accepted(generation=self._plans.generation)
        edges, replicas = self._supervisor.status() if self._supervisor else ((), ())
        return Report(status_of(self._identity, self._plans, self._started_at, edges, replicas))

    async def _enrol(self, request: Enrol, caller: str) -> Reply:
        try:
            refusal = await asyncio.to_thread(self._identity.enrol, request, time.time())
        except OSError as error:
            log.exception("can't store the enrolment")
            refusal = f"the enrolment can't be stored: {error.strerror}"
        if refusal is not None:
            log.warning("refused enrolment node=%.64r from=%s: %s", request.node, caller, refusal)
            return Refused(refusal)
        log.info("enrolled node=%s from=%s", self._name(), caller)
        self._server.present(self._credentials().host_certificate)
        if self._plans.signed is None:
            self._plans.load()
            await self._take_hold()
        return Accepted(generation=self._plans.generation)

    async def _apply(self, request: Apply, caller: str) -> Reply:
        before = self._plans.signed
        reply = await asyncio.to_thread(self._plans.accept, request.signed)
        if self._plans.signed is not before:
            log.info("applying generation=%d from=%s", self._plans.generation, caller)
            await self._take_hold()
        return reply

    async def _take_hold(self) -> None:
        """Make the stored plan the one that runs: first who may be here, then what is done."""
        plan = self._plans.plan
        self._callers = admission.callers(plan)
        self._dialled = admission.dialled(plan)
        self._server.review()
        self._dialler.review()
        if self._identity.credentials is None:
            return
        if self._supervisor is None:
            make = self._make_supervisor or _edge_supervisor()
            self._supervisor = make(
                self._name(), self._layout.root, self._dialler.open_session, self._schedules
            )
        if plan is not None:
            try:
                await self._supervisor.activate(plan)
            except NodeError as error:  # the plan is durable and stays; its edges say what keeps them
                log.error("the plan isn't fully running generation=%d: %s", self._plans.generation, error)
            except Exception:  # a fault in one edge must not cut off the way to push a better plan
                log.exception("the plan isn't fully running generation=%d", self._plans.generation)

    # Start and stop.

    async def _open_port(self, stack: AsyncExitStack) -> None:
        listening = ssh.bind(*self._listen)
        stack.callback(listening.close)
        credentials = self._identity.credentials
        certificate = credentials.host_certificate if credentials else None
        self._server = await ssh.serve(listening, self, self._identity.key, certificate)
        stack.push_async_callback(self._dialler.close)
        stack.push_async_callback(self._server.close)
        log.info("listening address=%s port=%d", *listening.getsockname()[:2])

    async def _stop_edges(self) -> None:
        async with self._changing:  # an order that is being carried out is finished first
            if self._supervisor is not None:
                await self._supervisor.stop()

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def _name(self) -> str:
        return self._identity.credentials.node if self._identity.credentials else ""

    def _credentials(self) -> Credentials:
        assert self._identity.credentials is not None, "nothing dials before enrolment"
        return self._identity.credentials

    def _address_of(self, peer_node: str) -> PeerAddress | None:
        return self._dialled.get(peer_node)


def notify(message: str) -> None:
    """Tell the service manager, where one asked to be told. Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        try:
            manager.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError as error:
            log.warning("can't notify the service manager at %s: %s", address, error.strerror)


def _edge_supervisor() -> SupervisorFactory:
    """The real one, imported only by a runtime that runs."""
    from node_runtime.daemon.edges import EdgeSupervisor

    return EdgeSupervisor
