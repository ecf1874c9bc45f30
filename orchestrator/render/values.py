"""How single values of a plan read: durations and sizes with their units, and what is held back."""

from __future__ import annotations

from schemas.status import HeldChanges
from schemas.text import UNIT_BYTES

# fields that hold seconds
DURATIONS = frozenset({"sync.jitter", "sync.debounce", "sync.rescan", "retention.deleted"})
SIZES = frozenset({"retention.size"})  # fields that hold bytes

_SIZE_UNITS = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B")
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


def duration(seconds: float) -> str:
    """Seconds as people write them in a document: 90.0 is "1m30s"."""
    left_ms = round(seconds * 1000)
    parts = []
    for unit_ms, name in _UNITS:
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def size(count_bytes: int | None) -> str:
    """Bytes as people write them in a document, exactly: 10737418240 is "10GiB"."""
    if count_bytes is None:
        return "unlimited"
    unit = next(unit for unit in _SIZE_UNITS if count_bytes % UNIT_BYTES[unit] == 0)
    return f"{count_bytes // UNIT_BYTES[unit]}{unit}"


def held_text(held: HeldChanges) -> str:
    """What a guard holds back, in numbers: "1,200 deletes, 3 replaced files, 1 directory"."""
    return ", ".join(
        f"{number:,} {one if number == 1 else many}"
        for number, one, many in (
            (held.deletes, "delete", "deletes"),
            (held.replaces, "replaced file", "replaced files"),
            (held.directories, "directory", "directories"),
        )
        if number
    )
