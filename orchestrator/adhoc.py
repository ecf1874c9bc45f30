"""An ad hoc sync: turns the words of a command line into a request, and runs `syncgraph-node pair` with it.

The near end is a program of its own, as every node runtime is; here is only what an rsync user types
and what comes back. Reading order: this, then `cli/sync`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.errors import OperatorError
from schemas.adhoc import Event, Failure, Request, Summary, decode_event
from schemas.control import Reply, decode_reply
from schemas.kept import ListVersions, Restore

DEFAULT_SSH = "ssh"
SSH_OPTIONS = ("-T", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")

IN_STEP, ERROR, PATHS_FAILED, CONFLICTS_HELD = 0, 1, 3, 4


@dataclass(frozen=True, slots=True)
class Location:
    """One side of a sync: a directory here, or on a host that ssh reaches."""

    path: str
    host: str = ""  # "[user@]host" as ssh takes it; empty: this machine


def parse_location(text: str) -> Location:
    """`PATH`, or `[user@]host:path` as rsync and scp read it: a colon before the first slash.

    Raises OperatorError. "[::1]:path" is a host too. An empty path is the account's home directory.
    """
    if not text:
        raise OperatorError("an empty path; name a directory, or [user@]host:path")
    user, at, rest = text.rpartition("@") if text.partition(":")[0].count("@") else ("", "", text)
    if rest.startswith("["):
        host, closed, path = rest[1:].partition("]:")
        if closed:
            return Location(path or "~", f"{user}{at}{host}")
    host, colon, path = rest.partition(":")
    if not colon or "/" in host or "/" in user:
        return Location(text)
    if not host or user.startswith("-") or (host.startswith("-") and not user):
        raise OperatorError(
            f"{text!r} names no host; write [user@]host:path, or ./{text} for a local directory"
        )
    return Location(path or "~", f"{user}{at}{host}")


def far_end_command(host: str, ssh: str, remote_command: str) -> tuple[str, ...]:
    """The command that starts the far end on `host`; empty for this machine.

    `remote_command` reaches the far side's shell as it was typed, so it may hold a path or an environment;
    paths and options of the sync itself never do: they cross the connection.
    """
    if not host:
        return ()
    try:
        program = shlex.split(ssh)
    except ValueError as error:
        raise OperatorError(f"--ssh {ssh!r} can't be read: {error}") from None
    return (*program, *SSH_OPTIONS, "--", host, f"{remote_command} serve")


def runtime_program() -> list[str]:
    """The node runtime's program: the one installed beside this one, else the one on PATH."""
    beside = Path(sys.executable).with_name("syncgraph-node")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("syncgraph-node")
    return [found] if found else [sys.executable, "-m", "node_runtime.cli"]


def run(request: Request) -> Iterator[Event]:
    """Carry out a request; its events as they come, a `Summary` last. Raises OperatorError.

    Ctrl-C and SIGTERM are passed on: a watch ends with its summary, anything else with an OperatorError.
    """
    with _start_pair() as pair, _signals_passed_on(pair) as signals:
        assert pair.stdin is not None, "asked for"
        assert pair.stdout is not None, "asked for"
        try:
            with suppress(BrokenPipeError):  # then its exit code tells
                pair.stdin.write(msgspec.json.encode(request))
                pair.stdin.close()
            ended = False
            for line in pair.stdout:
                event = decode_event(line)
                if isinstance(event, Failure):
                    raise OperatorError(event.message)
                ended = isinstance(event, Summary)
                yield event
            if not ended and signals:
                raise OperatorError("interrupted; run it again to go on where it ended")
            if not ended:
                raise OperatorError(f"syncgraph-node ended with exit code {pair.wait()} before it was done")
        except BaseException:
            pair.terminate()
            raise


@contextmanager
def local_versions() -> Iterator[Callable[[ListVersions | Restore], Reply]]:
    """Asks about kept versions of directories on this machine, one request after the other."""
    program = [*runtime_program(), "kept"]
    try:
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
    except OSError as error:
        raise OperatorError(f"can't start {program[0]}: {error.strerror}") from None

    def ask(request: ListVersions | Restore) -> Reply:
        assert child.stdin is not None, "asked for"
        assert child.stdout is not None, "asked for"
        with suppress(BrokenPipeError):  # then there is no answer either
            child.stdin.write(msgspec.json.encode(request) + b"\n")
            child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            raise OperatorError(f"{program[0]} ended with exit code {child.wait()} before it answered")
        reply: Reply = decode_reply(line)
        return reply

    with child:
        yield ask


def _start_pair() -> subprocess.Popen[bytes]:
    """The near end. It and what it starts ignore the terminal's Ctrl-C, which is ours to pass on: an ssh that
    ended by it would take the session along."""
    program = [*runtime_program(), "pair"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
    except OSError as error:
        raise OperatorError(f"can't start {program[0]}: {error.strerror}") from None
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _signals_passed_on(pair: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """The first signal asks the near end to leave; a second one doesn't wait for it. Yields what has come."""
    signals: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        if signals:
            pair.kill()
        else:
            pair.terminate()
        signals.append(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment() -> dict[str, str]:
    """This program's, with its own import path: it may run from a checkout."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _limit(max_delete: str | None) -> str | None:
    from schemas.text import parse_limit

    try:
        if max_delete is not None:
            parse_limit(max_delete)
    except ValueError as error:
        raise OperatorError(f"--max-delete {max_delete}: {error}") from None
    return max_delete


def exit_code(summary: Summary) -> int:
    """What a script should know of the outcome."""
    if summary.failed or summary.held:
        return PATHS_FAILED
    return CONFLICTS_HELD if any(c.copy is None for c in summary.conflicts) else IN_STEP


def request_for(
    source: str,
    target: str,
    *,
    both: bool,
    delete: bool,
    watch: bool,
    dry_run: bool,
    durable: bool,
    whole_file: bool | None,
    conflict: str,
    exclude: Sequence[str],
    max_delete: str | None = None,
    ssh: str,
    remote_command: str,
) -> Request:
    """The request that a command line means. Raises OperatorError.

    `whole_file` None: files that changed cross whole only between two directories of this machine, where
    reading both versions costs more than copying one.
    """
    from schemas.plans import ConflictPlan, FilterRule

    here, there = parse_location(source), parse_location(target)
    if here.host and there.host:
        raise OperatorError("one of the two must be on this machine; run the sync on one of the hosts")
    near, far = (there, here) if here.host else (here, there)
    return Request(
        near=os.path.abspath(os.path.expanduser(near.path)),
        far=far.path if far.host else os.path.abspath(os.path.expanduser(far.path)),
        command=far_end_command(far.host, ssh, remote_command),
        near_is_source=not here.host,
        both=both,
        delete=delete,
        watch=watch,
        dry_run=dry_run,
        durable=durable,
        delta=bool(near.host or far.host) if whole_file is None else not whole_file,
        conflict=ConflictPlan(policy=conflict),  # type: ignore[arg-type]  # click has checked it
        filters=tuple(FilterRule("exclude", pattern) for pattern in exclude),
        max_delete=_limit(max_delete),
    )
