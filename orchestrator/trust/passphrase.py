"""Where the authority's passphrase comes from: the environment, a file, or a person.

It decides the order in which they are asked. It never writes a passphrase anywhere, and no message of
it contains one. `authority` uses what it finds.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.errors import OperatorError

VARIABLE = "SYNCGRAPH_PASSPHRASE"
FILE_VARIABLE = "SYNCGRAPH_PASSPHRASE_FILE"
MIN_LENGTH = 8  # characters; the key file may be copied and tried offline

Prompt = Callable[[str], str]


def find_passphrase(environ: Mapping[str, str], prompt: Prompt | None, *, new: bool) -> str:
    """The passphrase; `prompt` asks a person without echo and is None where nobody is there to answer.

    A `new` one is asked for twice, and refused when it is too short to resist guessing.
    """
    given = _from_environment(environ)
    if given is None:
        if prompt is None:
            raise OperatorError(
                "the certificate authority's key is encrypted and there is no terminal to ask for its "
                f"passphrase: set {VARIABLE}, or {FILE_VARIABLE} to a file that holds it"
            )
        given = prompt("New passphrase for the certificate authority" if new else "Authority passphrase")
        if new and not hmac.compare_digest(given.encode(), prompt("The same again").encode()):
            raise OperatorError("the two passphrases differ; nothing was written, run the command again")
    if new and len(given) < MIN_LENGTH:
        raise OperatorError(f"a new passphrase needs at least {MIN_LENGTH} characters")
    return given


def _from_environment(environ: Mapping[str, str]) -> str | None:
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    if not environ.get(FILE_VARIABLE):
        return None
    path = Path(environ[FILE_VARIABLE]).expanduser()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{FILE_VARIABLE} names {path}, which can't be read: {error}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise OperatorError(f"{FILE_VARIABLE} names {path}, which is empty")
    return text
