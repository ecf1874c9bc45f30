"""What an unquoted YAML scalar means, and where YAML's versions disagree about it.

Decides by the core schema of YAML 1.2 (section 10.3.2) less its octal, hexadecimal and special numbers: those
and all that only YAML 1.1 reads as something else (`yes`, `010`, `1:30`, dates) stay texts, as written.
"""

from __future__ import annotations

import re

MAX_DIGITS = 18  # more stays a text: no number in a document is that long, and it fits 64 bits

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})")
_FRACTION = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_NOT_TEXT_START = frozenset("~tTfFnN+-0123456789")

_SURPRISES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i:y|n|yes|no|on|off)"), "some YAML readers take it for true or false"),
    (re.compile(r"[-+]?0o?[0-7_]+"), "some YAML readers take it for an octal number"),
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+"), "some YAML readers take it for a hexadecimal number"),
    (re.compile(r"[-+]?0b[01_]+"), "some YAML readers take it for a binary number"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
        "some YAML readers take it for a number to base 60",
    ),
    (re.compile(r"[-+]?[0-9][0-9]*_[0-9_]*"), "numbers are written without underscores"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"), "some YAML readers take it for a date"),
    (re.compile(r"[-+]?\.(?i:inf|nan)"), "some YAML readers take it for a number"),
    (
        re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"),
        "some YAML readers take it for a number",
    ),
)


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text[0] not in _NOT_TEXT_START:
        return text
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    return text


def as_text(written: str) -> str | None:
    """An unquoted scalar where a text belongs; None where it must be quoted to be one."""
    if written in _NULLS or (written in _BOOLEANS and written not in ("true", "false")):
        return None
    return written


def surprise(written: str) -> str:
    """Why an unquoted scalar may not be what its author thinks; "" if nothing is odd about it."""
    if written in _BOOLEANS:
        return "unquoted, it is true or false"
    for pattern, reason in _SURPRISES:
        if pattern.fullmatch(written):
            return reason
    return ""
