"""How single values of a plan read: durations with their units."""

from __future__ import annotations

DURATIONS = frozenset({"sync.jitter", "sync.debounce", "sync.rescan"})  # fields that hold seconds

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
