"""Which files are read, and their text.

Decides what counts as a document file, how large one may be, and that it is UTF-8. Must not know what stands
in it, but for one thing: in a directory, a file that never mentions this program is none of its business.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from orchestrator.load.syntax import LINE_BREAK
from schemas.errors import Place, Problem

MAX_FILE_BYTES = 16 * 1024 * 1024  # 100,000 nodes, each written out, take about 10 MB
SUFFIXES = (".yaml", ".yml")

_OURS = re.compile(rb"(?i)syncgraph|^\s*[\"']?kind[\"']?\s*:\s*[\"']?(?:topology|inventory)\b", re.MULTILINE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


class Unreadable(Exception):
    """A file can't be taken as text. Who acts: the caller, who reports `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def yaml_files(directory: Path) -> Iterator[str]:
    """All *.yaml and *.yml files below a directory, sorted; links are followed, each directory once.

    Directories whose name starts with a dot are left out.
    """
    seen: set[tuple[int, int]] = set()

    def unseen(path: str) -> bool:
        status = os.stat(path)
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return False
        seen.add(key)
        return True

    def refuse(error: OSError) -> None:
        raise Unreadable(_not_readable(str(error.filename), error))

    unseen(str(directory))
    for folder, folders, files in os.walk(directory, followlinks=True, onerror=refuse):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and unseen(os.path.join(folder, name))
        ]
        for name in sorted(files):
            path = os.path.normpath(os.path.join(folder, name))
            if name.endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path):
                yield path


def identity(path: str) -> tuple[int, int] | str:
    """What tells a file from every other, under whatever name it is reached."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.abspath(path)
    return (status.st_dev, status.st_ino)


def read_text(path: str, *, named: bool) -> str | None:
    """The text of a file. None for a file that was only found, not `named`, and isn't ours."""
    content = _read_bytes(path)
    if not named and not _OURS.search(content):
        return None
    for mark, encoding in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise Unreadable(
                Problem("not-utf-8", f"the file is in {encoding}", Place(path, 1, 1), "", "save it as UTF-8")
            )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = LINE_BREAK.split(content[: error.start].decode("utf-8-sig"))
        place = Place(path, len(lines), len(lines[-1]) + 1)
        bad = f"0x{content[error.start]:02X}"
        raise Unreadable(
            Problem("not-utf-8", f"the byte {bad} is not UTF-8", place, bad, "save the file as UTF-8")
        ) from None
    control = _CONTROL.search(text)
    if control:
        lines = LINE_BREAK.split(text[: control.start()])
        place = Place(path, len(lines), len(lines[-1]) + 1)
        shown = f"U+{ord(control[0]):04X}"
        raise Unreadable(
            Problem(
                "control-character", f"the control character {shown} stands here", place, shown, "take it out"
            )
        )
    return text


def nearest_file(path: str) -> str:
    """The name in the same directory that `path` was most likely meant to be; "" if none is near."""
    folder, name = os.path.split(path)
    try:
        names = [each for each in os.listdir(folder or ".") if not each.startswith(".")]
    except OSError:
        return ""
    found = get_close_matches(name, names, n=1)
    return found[0] if found else ""


def _read_bytes(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device could keep us for ever
            problem = Problem(
                "not-a-file", f"{path} is neither a file nor a directory", hint="name a YAML file"
            )
            raise Unreadable(problem)
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        close = nearest_file(path)
        hint = f'did you mean "{os.path.join(os.path.dirname(path), close)}"?' if close else ""
        raise Unreadable(Problem("no-such-file", f"there is no file {path}", value=path, hint=hint)) from None
    except OSError as error:
        raise Unreadable(_not_readable(path, error)) from None
    if len(content) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // (1024 * 1024)
        hint = 'split it, or declare nodes by a range, as in "branch-[001:200]"'
        raise Unreadable(
            Problem("too-large", f"the file is larger than {limit} MiB", Place(path, 1, 1), "", hint)
        )
    return content


def _not_readable(path: str, error: OSError) -> Problem:
    return Problem("not-readable", f"{path} can't be read: {error.strerror or error}", value=path)
