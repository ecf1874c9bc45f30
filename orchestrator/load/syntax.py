"""YAML's own complaints, said so that the author of the file can act on them.

Decides only words. libyaml's texts are kept where no plainer sentence is known.
"""

from __future__ import annotations

import re
from typing import Any

from schemas.errors import Place, Problem

LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what libyaml counts as one

# (libyaml's problem, the beginning of its context): (what is wrong, what to do)
_WORDS: dict[tuple[str, str], tuple[str, str]] = {
    ("mapping values are not allowed in this context", ""): (
        "a key stands where none can: its line is indented too deep, or one line has two of them",
        'align it with the key that it belongs beside, or quote a text that holds ": "',
    ),
    ("block sequence entries are not allowed in this context", ""): (
        'a "- " stands where no list entry can',
        "start the list on the line below its key",
    ),
    ("did not find expected node content", "while parsing a flow node"): (
        "a bracket isn't closed, or a value is missing before this",
        "write the closing bracket",
    ),
    ("did not find expected alphabetic or numeric character", "while scanning an alias"): (
        'a text can\'t start with "*" unless it is quoted',
        "write it in quotes",
    ),
    ("did not find expected alphabetic or numeric character", "while scanning an anchor"): (
        'a text can\'t start with "&" unless it is quoted',
        "write it in quotes",
    ),
    ("did not find expected key", ""): (
        "this is neither a key of the mapping nor a part of the value before it",
        "check the indentation, and quotes that close too early",
    ),
    ("did not find expected '-' indicator", ""): (
        'a list goes on here, but without "- "',
        "check the indentation",
    ),
    ("did not find expected ',' or '}'", ""): (
        'a "{" isn\'t closed',
        'write "}" at its end, and "," between entries',
    ),
    ("did not find expected ',' or ']'", ""): (
        'a "[" isn\'t closed',
        'write "]" at its end, and "," between entries',
    ),
    ("found unexpected end of stream", "while scanning a quoted scalar"): (
        "a quote isn't closed",
        "write the closing quote",
    ),
    ("could not find expected ':'", ""): ('a key has no ":" behind it', 'write "key: value"'),
    ("found unknown escape character", ""): (
        "this isn't an escape that YAML knows",
        "write a backslash twice, or use single quotes",
    ),
    ("did not find expected <document start>", ""): (
        "something follows the end of the document",
        'check the indentation of the first line and brackets; "---" starts another document',
    ),
    ("found undefined tag handle", ""): (
        "this tag is not known here",
        "quote a text that starts with an exclamation mark",
    ),
    ("found a tab character that violates indentation", ""): ("a tab can't indent", "use spaces"),
    ("found a tab character where an indentation space is expected", ""): (
        "a tab can't indent",
        "use spaces",
    ),
    ("found incompatible YAML document", ""): (
        "this version of YAML isn't known",
        "leave the %YAML line out",
    ),
}


def syntax_problem(error: Any, text: str, file: str) -> Problem:
    """A Problem from what PyYAML raised."""
    mark = getattr(error, "problem_mark", None)
    said = str(getattr(error, "problem", "") or getattr(error, "reason", "") or error)
    context = str(getattr(error, "context", "") or "")
    start = getattr(error, "context_mark", None)
    if mark is None:
        return Problem("syntax", f"this is not YAML: {said}", Place(file, 1, 1))
    lines = LINE_BREAK.split(text)
    place = _within(Place(file, mark.line + 1, mark.column + 1), lines)
    if said == "found character that cannot start any token":
        return _bad_start(place, lines)
    message, hint = _words_for(said, context)
    if start is not None and (message.endswith(("isn't closed", "is quoted"))):
        place = Place(file, start.line + 1, start.column + 1)
    return Problem("syntax", message, place, "", hint)


def _words_for(said: str, context: str) -> tuple[str, str]:
    for (problem, beginning), words in _WORDS.items():
        if said == problem and context.startswith(beginning):
            return words
    where = f" ({context})" if context else ""
    return f"this is not YAML: {said}{where}", ""


def _within(place: Place, lines: list[str]) -> Place:
    """`place`, or the end of the last written line where libyaml complains of what lies behind the text."""
    if "".join(lines[place.line - 1 :]).strip():
        return place
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=1)
    return Place(place.file, last, len(lines[last - 1].rstrip()) + 1)


def _bad_start(place: Place, lines: list[str]) -> Problem:
    character = lines[place.line - 1][place.column - 1 : place.column]
    if character == "\t":
        return Problem("syntax", "a tab can't indent", place, "", "use spaces")
    return Problem(
        "syntax",
        f'a text can\'t start with "{character}" unless it is quoted',
        place,
        character,
        f'write "{character}…" in quotes',
    )
