"""`syncgraph sync` as a program: run to its end, or started and left to run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0  # reached only by a program that hangs


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of `--json`."""
        document: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return document


@dataclass(frozen=True)
class Sync:
    """Runs `syncgraph sync` in a directory."""

    directory: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, under: Sequence[str] = ()) -> Done:
        done = subprocess.run(
            [*under, *self.command(*arguments)],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> list[str]:
        program = "from orchestrator.cli import main; main()"
        return [sys.executable, "-c", program, "sync", *arguments]

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A run under way, in a process group of its own; nothing of it is left at the end."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                yield running
            finally:
                self.kill(running)

    def kill(self, running: subprocess.Popen[str]) -> None:
        """End a run and all that it started as a power failure does."""
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    def children(self, running: subprocess.Popen[str], word: str) -> list[int]:
        """The processes of a run that were called with `word`."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            if group == running.pid and word.encode() in words:
                found.append(int(entry.name))
        return found


def sync_program(directory: Path) -> Sync:
    """The program, run in `directory`, its indexes kept below it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(directory / "state"),
        "NO_COLOR": "1",
    }
    return Sync(directory, environment)
