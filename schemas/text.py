"""The small languages inside the documents: durations, ranges, selectors, endpoints, templates, names.

Decides what such a text means. Pure, and free of heavy imports: the loader checks form with it, the model
reads values with it, so that both always agree. Must not know where a text stands: every function raises a
`ValueError` that holds one sentence about the text alone, and the caller adds the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

MAX_NAME_LENGTH = 63  # RFC 1123 section 2.1 with RFC 1035 section 2.3.4: one DNS label
MAX_RANGE_NAMES = 100_000  # above this a typo is likelier than a fleet
MAX_DURATION_S = 10 * 365 * 86_400.0  # ten years: above this a typo is likelier than a wish

# The macros of Vixie cron, crontab(5); "@reboot" names no time and is left out.
CRON_MACROS: dict[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

UNIT_S: dict[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
UNIT_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNIT_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(rf"([0-9]{{1,15}}(?:\.[0-9]{{1,3}})?)({'|'.join(UNIT_BYTES)})")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_LIMIT = re.compile(r"([0-9]{1,15})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_RANGE = re.compile(r"\[([^\[\]]*)\]")
_RANGE_BOUNDS = re.compile(r"([0-9]+):([0-9]+)")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_TEMPLATE = re.compile(r"\$\(([^()]*)\)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def check_name(text: str) -> str:
    """`text`, if it is one DNS label (RFC 1123) in lower case: what every name has to be."""
    if not text:
        raise ValueError("a name can't be empty")
    if len(text) > MAX_NAME_LENGTH:
        raise ValueError(f"a name has at most {MAX_NAME_LENGTH} characters; this one has {len(text)}")
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a name holds lower-case letters, digits and hyphens, and starts and ends with a letter or digit"
        )
    return text


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "500ms", "2s", "10m", "1h30m", "30d"."""
    if not _DURATION.fullmatch(text):
        raise ValueError(
            'a duration is a number with a unit (ms, s, m, h, d, w), such as "500ms", "2s", "10m" or "1h30m"'
        )
    parts = _DURATION_PART.findall(text)
    units = [unit for _, unit in parts]
    if sorted(set(units), key=lambda unit: -UNIT_S[unit]) != units:
        raise ValueError('a duration names each unit once, the largest first, as in "1h30m"')
    duration_s = sum(float(number) * UNIT_S[unit] for number, unit in parts)
    if duration_s > MAX_DURATION_S:
        raise ValueError("a duration is at most ten years")
    return duration_s


def parse_size(text: str) -> int | None:
    """Bytes in a size such as "500MB" or "10GiB"; None for "unlimited"."""
    if text == "unlimited":
        return None
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(
            'a size is a number with a unit (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), such as "500MB" or '
            '"10GiB"; or "unlimited"'
        )
    return int(float(match[1]) * UNIT_BYTES[match[2]])


@dataclass(frozen=True, slots=True)
class Limit:
    """So many files, or such a share of them."""

    count: int | None
    percent: float = 0.0  # only where there is no count

    def of(self, files: int) -> float:
        """How many of that many files; infinite for all of them, since then there is no limit."""
        if self.count is not None:
            return self.count
        return files * self.percent / 100 if self.percent < 100 else float("inf")


def parse_limit(text: str) -> Limit:
    """A limit such as "500" or "25%"."""
    match = _LIMIT.fullmatch(text)
    if not match:
        raise ValueError('a limit is a number of files, such as 500, or a share of them, such as "25%"')
    if match[2] is None:
        return Limit(int(match[1]))
    percent = float(match[2])
    if percent > 100:
        raise ValueError("a share of the files is at most 100%, which stands for no limit")
    return Limit(None, percent)


def cron_fields(text: str) -> str:
    """The five fields of a cron schedule, a macro such as "@daily" written out."""
    text = text.strip()
    if text.startswith("@"):
        if text not in CRON_MACROS:
            raise ValueError(f'"{text}" is not a cron macro; known are {", ".join(CRON_MACROS)}')
        return CRON_MACROS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            "a schedule has five fields: minute, hour, day of month, month, day of week; "
            f"this one has {len(fields)}"
        )
    return " ".join(fields)


def expand_range(text: str) -> list[str]:
    """All names of a range: "branch-[01:03]" is branch-01, branch-02, branch-03.

    A text without a range is itself. Several ranges in one text give every combination, the last running
    fastest.
    """
    pieces: list[list[str]] = []
    count = 1
    end = 0
    for match in _RANGE.finditer(text):
        pieces.append([text[end : match.start()]])
        pieces.append(_range_numbers(match[1]))
        count *= len(pieces[-1])
        end = match.end()
        if count > MAX_RANGE_NAMES:
            raise ValueError(
                f"a range gives at most {MAX_RANGE_NAMES:,} names; this one gives {count:,} or more"
            )
    pieces.append([text[end:]])
    if any("[" in part or "]" in part for piece in pieces[::2] for part in piece):
        raise ValueError('a bracket has no partner; a range is written as in "branch-[01:40]"')
    return ["".join(parts) for parts in product(*pieces)]


def _range_numbers(inside: str) -> list[str]:
    bounds = _RANGE_BOUNDS.fullmatch(inside)
    if not bounds:
        raise ValueError(f'"[{inside}]" is not a range; write two numbers with a colon, as in "[01:40]"')
    first, last = bounds[1], bounds[2]
    padded = any(bound.startswith("0") and bound != "0" for bound in (first, last))
    if len(first) != len(last) and (padded or len(first) > len(last)):
        width = max(len(first), len(last))
        padded_range = f"[{first.zfill(width)}:{last.zfill(width)}]"
        raise ValueError(f'the ends of "[{inside}]" have different widths; write "{padded_range}"')
    if len(last) > len(str(10**9)):
        raise ValueError(f'the numbers of "[{inside}]" are too long')
    if int(first) > int(last):
        raise ValueError(f'"[{inside}]" runs downward; write the smaller number first')
    if int(last) - int(first) >= MAX_RANGE_NAMES:
        raise ValueError(
            f"a range gives at most {MAX_RANGE_NAMES:,} names; this one gives {int(last) - int(first) + 1:,}"
        )
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a selector. `value` is "" where the operator asks only for the key."""

    key: str
    operator: Literal["=", "!=", "exists", "absent"]
    value: str = ""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy this term. As in Kubernetes, `!=` also holds where the key is absent."""
        match self.operator:
            case "=":
                return labels.get(self.key) == self.value
            case "!=":
                return labels.get(self.key) != self.value
            case "exists":
                return self.key in labels
            case "absent":
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; all its requirements must hold."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is selected."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """A selector such as "role=branch,link!=lte,canary,!retired"."""
    if not text.strip():
        raise ValueError('a selector can\'t be empty; write at least one label, as in "role=branch"')
    return Selector(tuple(_requirement(term.strip()) for term in text.split(",")))


def _requirement(term: str) -> Requirement:
    if not term:
        raise ValueError(
            'a selector has an empty term; write it with single commas, as in "role=branch,link"'
        )
    operator: Literal["=", "!=", "exists", "absent"]
    if "!=" in term:
        key, _, value = term.partition("!=")
        operator = "!="
    elif "=" in term:
        key, _, value = term.partition("=")
        value = value.removeprefix("=")
        operator = "="
    elif term.startswith("!"):
        key, value, operator = term[1:], "", "absent"
    else:
        key, value, operator = term, "", "exists"
    key, value = key.strip(), value.strip()
    check_label_key(key)
    if operator in ("=", "!="):
        if not value:
            raise ValueError(f'"{term}" has no value; write "{key}" alone to ask whether the label is there')
        check_label_value(value)
    return Requirement(key, operator, value)


def check_label_key(text: str) -> str:
    """`text`, if a label can be called that."""
    if not _LABEL_KEY.fullmatch(text):
        raise ValueError(
            f'"{text}" is not a label key; it holds letters, digits, ".", "_", "/" and "-", '
            "and starts and ends with a letter or digit"
        )
    return text


def check_label_value(text: str) -> str:
    """`text`, if a label can have that value."""
    if text and not _LABEL_VALUE.fullmatch(text):
        raise ValueError(
            f'"{text}" is not a label value; it holds letters, digits, ".", "_", "/" and "-", '
            "and starts and ends with a letter or digit"
        )
    return text


def parse_endpoint(text: str) -> tuple[str, str]:
    """(node, path) of "node:/abs/path" or "node:~/path". The node may hold a range, the path templates."""
    node, colon, path = _split_endpoint(text)
    if not colon:
        raise ValueError('an endpoint is a node and a path, as in "hq-a:/data"; this one has no colon')
    if not node:
        raise ValueError('an endpoint starts with a node name, as in "hq-a:/data"')
    for name in (node,) if "[" not in node and "]" not in node else _range_ends(node):
        check_name(name)
    check_path(path)
    return node, path


def _split_endpoint(text: str) -> tuple[str, str, str]:
    """Split at the first colon that doesn't stand inside a range's brackets."""
    depth = 0
    for at, character in enumerate(text):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
        elif character == "/":
            break  # names hold no slash: from here on it is a path
        elif character == ":" and depth <= 0:
            return text[:at], ":", text[at + 1 :]
    return text, "", ""


def _range_ends(text: str) -> tuple[str, str]:
    names = expand_range(text)
    return names[0], names[-1]


def check_path(text: str) -> str:
    """`text`, if a replica's path can be written so: absolute, or below the runtime's home with "~/"."""
    if not text:
        raise ValueError('the path is empty; write an absolute path as in "/data", or "~/data"')
    if not text.startswith(("/", "~/")):
        raise ValueError(f'the path "{text}" is relative; write an absolute path as in "/data", or "~/data"')
    if _UNPRINTABLE.search(text):
        raise ValueError("a path can't hold control characters")
    check_template(text)
    return text


def check_template(text: str) -> str:
    """`text`, if each template in it is $(name), $(spoke.name) or $(label.KEY)."""
    if "$(" in _TEMPLATE.sub("", text):
        raise ValueError('a "$(" has no closing bracket; write a template as in "$(name)"')
    for name in template_names(text):
        if name in ("name", "spoke.name"):
            continue
        if name.startswith("label."):
            check_label_key(name.removeprefix("label."))
            continue
        known = nearest(name, ("name", "spoke.name", "label."))
        raise ValueError(
            f'"$({name})" is not a template; known are $(name), $(spoke.name) and $(label.KEY)'
            + (f', did you mean "$({known})"?' if known and known != "label." else "")
        )
    return text


def template_names(text: str) -> list[str]:
    """The names between "$(" and ")", in order."""
    return _TEMPLATE.findall(text)


def fill_template(text: str, values: Mapping[str, str]) -> str:
    """`text` with every $(x) replaced by values["x"]. A name without a value is a `ValueError`."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f'"$({match[1]})" has no value here')
        return values[match[1]]

    return _TEMPLATE.sub(value_of, text) if "$(" in text else text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was most likely meant to be; "" if none is near."""
    from difflib import get_close_matches

    by_fold = {_folded(each): each for each in known}
    folded = _folded(word)
    found = get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    if not found and len(folded) >= 3:
        found = [each for each in by_fold if each.startswith(folded)][:1]
    return by_fold[found[0]] if found else ""


def _folded(word: str) -> str:
    return word.casefold().replace("_", "").replace("-", "")


def printable(text: str) -> str:
    """`text` without what could steer a terminal: what documents, nodes and trees hold is theirs."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
