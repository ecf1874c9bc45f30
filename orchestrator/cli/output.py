"""What every command prints with: colour, JSON, problems, and the way out when there are errors.

Decides how things look, never what is true. Results go to standard output, messages for people to standard
error, so that `--json` can be piped. Colour only where a person reads: on a terminal without NO_COLOR
(https://no-color.org), or wherever FORCE_COLOR is set.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from schemas.errors import Place, Problem
from schemas.text import printable

if TYPE_CHECKING:
    from orchestrator.load import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_PRINTED = 500  # problems listed for a person; what comes behind them mostly has the same cause
MAX_SOURCE_LINE = 160  # characters of a source line shown above its caret
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what a YAML reader counts as a line break


def paths_argument(command: Command) -> Command:
    """The `PATH…` argument of a command: files or directories, the working directory when none is given."""
    argument = click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
    return argument(command)


def json_option(command: Command) -> Command:
    """The `--json` flag, passed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def colour_wanted(*, err: bool = False) -> bool:
    """Whether standard output (or error) takes colour."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def echo(text: str = "", *, err: bool = False, newline: bool = True) -> None:
    """Print text that may hold `click.style` colours; they are taken out where no colour is wanted."""
    click.echo(text, err=err, nl=newline, color=colour_wanted(err=err))


def print_json(document: Any) -> None:
    """Print one JSON document: indented for a person at a terminal, one line otherwise."""
    import msgspec

    text = msgspec.json.encode(document)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    click.echo(text.decode(), color=False)


def size_text(count_bytes: int) -> str:
    """A number of bytes in decimal units, as file tools and disks count."""
    value = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as programs read it."""
    place = problem.place
    return {
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "value": problem.value,
        "hint": problem.hint,
    }


def print_problems(problems: Sequence[Problem], *, err: bool = True) -> None:
    """Print each problem with its source line and a caret, then a line that counts them."""
    sources: dict[str, list[str]] = {}
    for problem in problems[:MAX_PRINTED]:
        tint = "red" if problem.severity == "error" else "yellow"
        where = click.style(f"{problem.place}: ", bold=True) if problem.place else ""
        severity = click.style(f"{problem.severity}:", fg=tint, bold=True)
        code = click.style(f"[{problem.code}]", dim=True)
        echo(f"{where}{severity} {printable(problem.message)} {code}", err=err)
        if problem.place:
            _print_source(problem.place, sources, tint, err=err)
        if problem.hint:
            echo(f"    {click.style('=', fg='cyan')} {printable(problem.hint)}", err=err)
    if len(problems) > MAX_PRINTED:
        echo(f"… and {len(problems) - MAX_PRINTED:,} more; --json lists them all", err=err)
    if problems:
        echo(count_problems(problems), err=err)


def count_problems(problems: Sequence[Problem]) -> str:
    """A count such as "2 errors, 1 warning"."""
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    counts = [
        f"{count:,} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return ", ".join(counts) or "no problems"


def has_errors(problems: Sequence[Problem]) -> bool:
    """Whether any problem is more than a warning."""
    return any(problem.severity == "error" for problem in problems)


def load_or_stop(paths: Sequence[str | Path], *, as_json: bool = False) -> Loaded:
    """The documents under `paths` (the working directory if empty); a listing and exit code 1 on errors."""
    from orchestrator.load import load

    loaded = load(paths or (".",))
    stop_on_errors(loaded.problems, as_json=as_json)
    return loaded


def stop_on_errors(problems: Sequence[Problem], *, as_json: bool = False) -> None:
    """Print problems, if there are any, and leave with exit code 1 if one of them is an error.

    With `as_json`, warnings alone print nothing: standard output belongs to the command's own document.
    """
    if has_errors(problems):
        fail_with(problems, as_json=as_json)
    if not as_json:
        print_problems(problems)


def fail_with(problems: Sequence[Problem], *, as_json: bool = False) -> NoReturn:
    """Print problems and leave with exit code 1."""
    if as_json:
        print_json({"problems": [problem_json(problem) for problem in problems]})
    else:
        print_problems(problems)
    raise click.exceptions.Exit(1)


def _print_source(place: Place, sources: dict[str, list[str]], tint: str, *, err: bool) -> None:
    if place.file not in sources:
        sources[place.file] = _source_lines(place.file)
    lines = sources[place.file]
    if place.line > len(lines) or not lines[place.line - 1].strip():
        return
    line = lines[place.line - 1].replace("\t", " ")
    at = min(place.column - 1, len(line))
    start = max(0, at - MAX_SOURCE_LINE // 2)
    shown = printable(line[start : start + MAX_SOURCE_LINE])
    number = f"{place.line:>5} | "
    echo(click.style(number, dim=True) + shown.rstrip(), err=err)
    echo(
        " " * (len(number) - 2)
        + click.style("| ", dim=True)
        + " " * _columns(shown[: at - start])
        + click.style("^", fg=tint),
        err=err,
    )


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def _source_lines(file: str) -> list[str]:
    """The lines of a file; none if it can't be read (any more), since the message stands without them."""
    try:
        text = Path(file).read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return []
    return _LINE_BREAK.split(text)
