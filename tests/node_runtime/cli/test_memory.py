"""What the C library is brought to do, counted in page faults rather than timed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from node_runtime.cli.memory import keep_freed_buffers
if sys.argv[1] == "kept":
    keep_freed_buffers()
def use():
    for _ in range(100):
        first, second = b"1" * 1_000_000, b"2" * 2_500_000
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is how glibc behaves")
def test_freed_buffers_are_used_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults("kept") < faults("as it is") / 10
