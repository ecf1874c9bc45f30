"""The forms that a text can be asked to have: what `"format"` means in the schemas.

Decides whether one text is well formed, never whether it makes sense in its fleet. `FORMS` is the whole
table; each check raises a `ValueError` that holds one sentence. What costs time to import is imported by the
check that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from schemas.text import (
    check_label_key,
    check_label_value,
    check_name,
    check_path,
    check_template,
    cron_fields,
    expand_range,
    nearest,
    parse_duration,
    parse_endpoint,
    parse_limit,
    parse_selector,
    parse_size,
    template_names,
)

MAX_ADDRESS_LENGTH = 253  # RFC 1035 section 2.3.4, less the root's dot and length bytes

_TEMPLATED = re.compile(r"\$\([^()]*\)")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_KEY = re.compile(r"ssh-ed25519 (AAAA[A-Za-z0-9+/]+={0,2})(?: .*)?")

# as cronsim names the field: (its position, what it takes)
_CRON_FIELDS = {
    "minute": (0, "0-59"),
    "hour": (1, "0-23"),
    "day-of-month": (2, "1-31"),
    "month": (3, "1-12 or JAN-DEC"),
    "day-of-week": (4, "0-7 or SUN-SAT"),
}


def _plain(text: str) -> str:
    """`text`, its node's templates checked and replaced by a letter, for a check of what is around them."""
    check_template(text)
    if "spoke.name" in template_names(text):
        raise ValueError('"$(spoke.name)" means nothing at a node; $(name) is the node\'s own name')
    return _TEMPLATED.sub("x", text)


def _is_name_range(text: str) -> None:
    names = expand_range(text)
    check_name(names[0])
    check_name(names[-1])


def _is_endpoint(text: str) -> None:
    node, _ = parse_endpoint(text)
    if "[" in node:
        raise ValueError(
            'a single endpoint stands here, and a range names many; name one node, as in "hq-a:/data"'
        )


def _is_label_value(text: str) -> None:
    for name in template_names(text):
        if name != "name":
            raise ValueError(f'"$({name})" means nothing in a label; only $(name) does')
    check_label_value(_plain(text))


def _is_address(text: str) -> None:
    import ipaddress

    host = _plain(text)
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            hint = "the port has a key of its own" if host.count(":") == 1 else "it isn't an IPv6 address"
            raise ValueError(f"an address is a host name or an IP address; {hint}") from None
        return
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f'"{host}" is not an IPv4 address; it has four numbers up to 255') from None
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_ADDRESS_LENGTH or not all(
        len(label) <= 63 and _HOST_LABEL.fullmatch(label) for label in labels
    ):
        raise ValueError('an address is a host name or an IP address, as in "hq-a.example.net" or "10.0.0.7"')


def _is_cron(text: str) -> None:
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    fields = cron_fields(text)
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - any fixed moment: only whether there is a next one is asked
    try:
        next(CronSim(fields, start))
    except StopIteration:
        raise ValueError("this schedule never comes: no such day exists in these months") from None
    except (CronSimError, AssertionError) as error:
        field = str(error).removeprefix("Bad ") or "day-of-week"
        position, accepted = _CRON_FIELDS[field]
        raise ValueError(
            f'the {field.replace("-", " ")} field can\'t be "{fields.split()[position]}"; '
            f"it takes {accepted}, *, and lists, ranges and steps of them"
        ) from None


def _is_time_zone(text: str) -> None:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError, below
        known = ""
    except KeyError:
        zones = zoneinfo.available_timezones()
        cities = {zone.rpartition("/")[2]: zone for zone in sorted(zones)}
        known = nearest(text, zones) or cities.get(nearest(text.rpartition("/")[2], cities), "")
    else:
        return
    suggestion = f'; did you mean "{known}"?' if known else '; write it as in "Europe/Berlin"'
    raise ValueError(f"no IANA time zone has this name{suggestion}")


def _is_gitignore(text: str) -> None:
    if not text.strip():
        raise ValueError("a pattern can't be empty")
    if _UNPRINTABLE.search(text):
        raise ValueError("a pattern can't hold control characters")
    if text.startswith("!"):
        raise ValueError('write "include" instead of a leading "!"')
    if text.startswith("#"):
        raise ValueError('a pattern that starts with "#" is a comment; write "\\#" for a name that does')
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([text])
    except (ValueError, re.error):  # a range such as [z-a] gets as far as the regular expression
        raise ValueError("this is not a gitignore pattern") from None


def _is_ssh_jump(text: str) -> None:
    for hop in text.split(","):
        user, at, rest = hop.strip().rpartition("@")
        host, colon, port = rest.partition(":")
        if at and not _WORD.fullmatch(user):
            raise ValueError("a jump host is written [user@]host[:port]; the user can't be read")
        if colon and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65535):
            raise ValueError(
                "a jump host is written [user@]host[:port]; the port is a number from 1 to 65535"
            )
        if not host:
            raise ValueError("a jump host is written [user@]host[:port]; the host is missing")
        _is_address(host)


def _is_host_key(text: str) -> None:
    import base64
    import binascii

    form = 'a host key is written "ssh-ed25519 AAAA…", as `ssh-keygen` prints it'
    match = _HOST_KEY.fullmatch(text)
    if not match:
        raise ValueError(form)
    try:
        blob = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise ValueError(f"{form}; this one's base64 is damaged") from None
    # RFC 8709 section 4: the strings "ssh-ed25519" and the key of 32 bytes, each behind its length
    if len(blob) != 51 or not blob.startswith(b"\0\0\0\x0bssh-ed25519\0\0\0 "):
        raise ValueError(f"{form}; this one is cut short or of another type")


def _is_word(text: str) -> None:
    if not _WORD.fullmatch(_plain(text)):
        raise ValueError("it holds letters, digits and . _ @ + -, and no spaces")


def _is_line(text: str) -> None:
    if not text.strip():
        raise ValueError("it can't be empty")
    if _UNPRINTABLE.search(text):
        raise ValueError("it can't hold control characters")


def _is_node_path(text: str) -> None:
    check_path(text)
    _plain(text)


def _is_command(text: str) -> None:
    _is_line(text)
    if _plain(text).startswith("-"):
        raise ValueError("a program's name can't start with a hyphen")


FORMS: dict[str, Callable[[str], object]] = {
    "name": check_name,
    "name-range": _is_name_range,
    "endpoint": _is_endpoint,
    "endpoint-range": parse_endpoint,
    "selector": parse_selector,
    "replica-path": check_path,
    "node-path": _is_node_path,
    "label-key": check_label_key,
    "label-value": _is_label_value,
    "address": _is_address,
    "duration-text": parse_duration,
    "size-text": parse_size,
    "limit": parse_limit,
    "cron": _is_cron,
    "time-zone": _is_time_zone,
    "gitignore": _is_gitignore,
    "edge-glob": _is_line,
    "file-path": _is_line,
    "word": _is_word,
    "command": _is_command,
    "ssh-jump": _is_ssh_jump,
    "host-key": _is_host_key,
}
