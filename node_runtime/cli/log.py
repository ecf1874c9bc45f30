"""How a node runtime logs: one line an event on standard error, for people or for programs.

Text from outside is in these lines, so a line end or an escape in it is shown, never written.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warning", "error")
LOUD = ("asyncssh", "apscheduler", "tzlocal", "watchdog")  # these log every step at "info"


class TextLines(logging.Formatter):
    """`2026-11-22T16:20:01.123Z INFO daemon.node: ready node=hq-a`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, a traceback included."""
        text = f"{_time(record)} {record.levelname} {_short(record.name)}: {record.getMessage()}"
        if record.exc_info:
            text += f" traceback={self.formatException(record.exc_info)}"
        return "".join(each if each.isprintable() else _escape(each) for each in text)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and, for failures, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, a traceback included."""
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def configure(level: str, as_json: bool) -> None:
    """Set up logging for this whole program."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _short(name: str) -> str:
    return name.removeprefix("node_runtime.")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
