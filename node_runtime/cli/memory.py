"""How the C library gives memory back, for programs that move content through megabyte buffers all the time.

glibc maps each large buffer anew and unmaps it when it is freed, so every megabyte received costs 256 page
faults, which on a virtual machine may take longer than copying it. It stops doing so for sizes up to that of
the largest mapped buffer that was ever freed (mallopt(3), M_MMAP_THRESHOLD: "dynamic"), and keeps twice as
much for the next one. Other C libraries notice nothing.
"""

from __future__ import annotations

_LARGEST_BYTES = 31 * 1024 * 1024  # below glibc's limit of 32 MiB for that adjustment


def keep_freed_buffers() -> None:
    """Have freed buffers used again. Costs nothing: the memory is never touched."""
    bytearray(_LARGEST_BYTES)
