"""What a figure depends on besides the program: the machine, its file systems, and what else it was doing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from bench.measure import ROOT

BUSY = 0.5  # load average of one minute from which figures are suspect
MEMORY = Path("/dev/shm")


def describe() -> list[tuple[str, str]]:
    """Names and values for the head of a report."""
    return [
        ("processor", f"{_cpu_model()}, {os.cpu_count()} cores"),
        ("memory", f"{_memory_bytes() / 1e9:.0f} GB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("rsync", _rsync_version()),
        ("revision", _revision()),
    ]


def load() -> float:
    """How many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def file_system(directory: Path) -> str:
    """Type of the file system that holds `directory`, and where it is mounted: "ext4 at /"."""
    best, kind = "", "an unknown file system"
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    whole = str(directory.resolve())
    for line in mounts:
        _, mounted, name, *_ = line.split()
        below = whole == mounted or whole.startswith(mounted.rstrip("/") + "/")
        if below and len(mounted) >= len(best):
            best, kind = mounted, name
    return f"{kind} at {best}" if best else kind


def memory_directory(directory: Path, needed_bytes: int) -> Path | None:
    """A directory in memory, if there is one with room that isn't where `directory` already is."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == directory.stat().st_dev:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= needed_bytes else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _rsync_version() -> str:
    return _first_line(["rsync", "--version"]) or "not installed"


def _revision() -> str:
    revision = _first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]) or "unknown"
    changed = _first_line(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{revision}, with uncommitted changes" if changed else revision


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()
