"""Runs a whole program and says what it took: seconds, processor time, memory.

Time runs from before the process is made until it has been waited for, the interpreter's start included,
since that is what a user waits for. It knows nothing of what it measures.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.case import CannotMeasure

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 900.0  # what takes longer is stuck


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a program took."""

    seconds: float
    cpu_s: float  # of it and all its children
    peak_bytes: int  # resident memory of the largest of its processes
    output: bytes


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    expect: Sequence[int] = (0,),
) -> Measured:
    """Run a program to its end. Raises CannotMeasure if its exit code is none of `expect`."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        stuck = threading.Timer(LIMIT_S, os.killpg, (process.pid, signal.SIGKILL))
        stuck.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            stuck.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        written = output.read()
        if process.returncode not in expect:
            said = (errors.read() or written).decode(errors="replace").strip()[-2000:]
            raise CannotMeasure(f"{Path(str(command[0])).name} ended with {process.returncode}: {said}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, written)


def syncgraph() -> list[str]:
    """The program under test: the one installed beside this interpreter, else this checkout's."""
    beside = Path(sys.executable).with_name("syncgraph")
    if beside.exists():
        return [str(beside)]
    return [sys.executable, "-c", "from orchestrator.cli import main; main()"]


def environment(state: Path) -> dict[str, str]:
    """For programs under test: this checkout first on the import path, and a place for their state."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "XDG_STATE_HOME": str(state),
        "NO_COLOR": "1",
        # As users have them: without byte code every start would compile every module anew.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONUNBUFFERED": "",
    }


def required(program: str) -> str:
    """A program that a comparison needs. Raises CannotMeasure where it isn't installed."""
    found = shutil.which(program)
    if found is None:
        raise CannotMeasure(f"{program} isn't installed; it is measured beside syncgraph")
    return found
