"""Two ends of an edge, each a process of its own, of which one is killed at a step, or its disk refuses it.

with Ends() as ends:
    clean = ends.run(plan, state)                                     # both to their end
    ends.run(plan, state, Strike("target", "target.flush put", 1))    # the target dies as it takes that step

The ends are forked from a process that has imported everything and has no threads: starting them takes
milliseconds, so hundreds of deaths fit into a test.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_runtime.daemon.adhoc import run_end
from node_runtime.daemon.talk import Manner
from node_runtime.errors import NodeError
from node_runtime.exchange.messages import End, Tally
from node_runtime.exchange.session import SessionClosed
from node_runtime.net.stream import StreamSession
from schemas.plans import ReplicationPlan
from tests.support.steps import stepping
from tests.support.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]
ENDS: tuple[End, End] = ("source", "target")


@dataclass(frozen=True)
class Strike:
    """What befalls one end as it is about to take a step for the nth time, counted from one."""

    end: End
    step: str
    nth: int
    errno: int = 0  # what the call fails with; 0 kills instead


@dataclass
class Came:
    """How one end's process ended."""

    killed: bool = False
    refused: str = ""  # why it gave up, in a sentence for its operator
    failed: str = ""  # an error that nobody should ever see
    tally: Tally | None = None  # only where it ended in good order
    steps: list[str] = field(default_factory=list)  # that it took; only where it wasn't killed


class Ends:
    """Runs edges in processes of their own."""

    def __enter__(self) -> Ends:
        self._forker = subprocess.Popen(
            [sys.executable, "-c", "from tests.support.crashing import serve; serve()"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._forker.communicate(timeout=DEADLINE_S)

    def run(self, plan: ReplicationPlan, state: Path, strike: Strike | None = None) -> dict[End, Came]:
        """Run both ends of an edge until their processes have ended; their indexes are below `state`."""
        assert self._forker.stdin is not None, "asked for"
        assert self._forker.stdout is not None, "asked for"
        pickle.dump((plan, state, strike), self._forker.stdin)
        self._forker.stdin.flush()
        came: dict[End, Came] = pickle.load(self._forker.stdout)
        for end, each in came.items():
            assert not each.failed, f"the {end}'s end: {each.failed}"
        return came


def serve() -> None:
    """Be the process that the ends are forked from, until nobody asks any more."""
    while request := sys.stdin.buffer.peek(1):
        del request
        pickle.dump(_run_both(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)
        sys.stdout.flush()


def _run_both(plan: ReplicationPlan, state: Path, strike: Strike | None) -> dict[End, Came]:
    sockets = dict(zip(ENDS, socket.socketpair(), strict=True))
    children = {}
    for end in ENDS:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            sockets[ENDS[end == ENDS[0]]].close()
            with os.fdopen(writing, "wb") as telling:
                pickle.dump(_be(plan, end, state, sockets[end], strike), telling)
            os._exit(0)
        os.close(writing)
        children[end] = pid, reading
    for end in ENDS:
        sockets[end].close()
    return {end: _outcome(*children[end]) for end in ENDS}


def _outcome(pid: int, reading: int) -> Came:
    with os.fdopen(reading, "rb") as told:
        said = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        died_of = os.WTERMSIG(status)
        return Came(killed=True) if died_of == signal.SIGKILL else Came(failed=f"it hangs (signal {died_of})")
    came: Came = pickle.loads(said)
    return came


def _be(plan: ReplicationPlan, end: End, state: Path, sock: socket.socket, strike: Strike | None) -> Came:
    os.environ["XDG_STATE_HOME"] = str(state)
    signal.alarm(4 * int(DEADLINE_S))
    mine = strike if strike is not None and strike.end == end else None
    came = Came()
    try:
        with stepping(_befall(mine, came.steps)):
            came.tally = asyncio.run(_run(plan, end, sock))
    except SessionClosed:
        pass  # the other end has died
    except NodeError as error:
        came.refused = str(error)
    except Exception as error:  # noqa: BLE001  # told to the test, which fails
        came.failed = f"{type(error).__name__}: {error}"
    return came


def _befall(strike: Strike | None, taken: list[str]) -> Callable[[str, Callable[[], Any]], Any]:
    times = Counter[str]()

    def around(step: str, call: Callable[[], Any]) -> Any:
        taken.append(step)
        times[step] += 1
        if strike is not None and step == strike.step and times[step] == strike.nth:
            if not strike.errno:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(strike.errno, os.strerror(strike.errno))
        if step.endswith(" flush_file_system"):
            return None  # processes die here, not machines; and the disk may be slow
        return call()

    return around


async def _run(plan: ReplicationPlan, end: End, sock: socket.socket) -> Tally:
    here = plan.source if end == "source" else plan.target

    async def connect() -> StreamSession:
        session = StreamSession()
        sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: session, sock=sock)
        return session

    mine, _ = await run_end(plan, end, here.node, here.path, Manner(), connect)
    return mine
