"""What the commands that talk to nodes share: the documents, the authority, the conversations.

It decides when the authority has to be opened, because that costs a passphrase: only for nodes that are
reached at their runtime's own port, and for a push. Next: `plan`, the simplest of the commands.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.output import echo, load_or_stop, stop_on_errors
from orchestrator.errors import OperatorError

if TYPE_CHECKING:
    from orchestrator.apply.access import Hosts, NodeAccess
    from orchestrator.model import Compiled
    from orchestrator.trust.authority import Authority

Command = TypeVar("Command", bound=Callable[..., Any])


def state_option(command: Command) -> Command:
    """The `--state` option: where this repository keeps its authority."""
    return click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        show_default="$SYNCGRAPH_STATE or .syncgraph in the repository",
        help="Directory of the certificate authority.",
    )(command)


def compile_or_stop(paths: Sequence[Path], *, as_json: bool) -> Compiled:
    """The documents under `paths` as plans; a listing of what is wrong and exit code 1 otherwise."""
    from orchestrator.model import compile_fleet

    loaded = load_or_stop(paths, as_json=as_json)
    compiled = compile_fleet(loaded)
    stop_on_errors(compiled.problems, as_json=as_json)
    if not compiled.nodes:
        raise OperatorError("there is no node in these documents; name an inventory, or a topology that does")
    return compiled


def accesses(compiled: Compiled) -> dict[str, NodeAccess]:
    """The ways to all nodes, by name."""
    from orchestrator.apply.access import NodeAccess

    return {
        node.name: NodeAccess(node.name, node.access, node.address, node.ssh, node.runtime)
        for node in compiled.nodes
    }


@dataclass
class AuthorityFile:
    """The repository's authority, opened when it is first needed, once."""

    state: Path
    _opened: Authority | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The encrypted key."""
        from orchestrator.trust.place import KEY_NAME

        return self.state / KEY_NAME

    @property
    def public_key(self) -> str:
        """Its public half, without a passphrase; "" where there is no authority yet."""
        from orchestrator.trust.place import public_key_at

        if self._opened is not None:
            return self._opened.public_key
        if not self.path.exists():
            return ""
        return public_key_at(self.path) or self.open().public_key

    def open(self, *, create: bool = False) -> Authority:
        """The authority. With `create`, a new one where there is none yet."""
        from orchestrator.trust import authority
        from orchestrator.trust.passphrase import find_passphrase

        if self._opened is None:
            new = create and not self.path.exists()
            passphrase = find_passphrase(os.environ, _prompt if _person_there() else None, new=new)
            if new:
                self._opened = authority.create(self.path, passphrase)
                echo(f"New certificate authority: {self.path} (keep a copy, and its passphrase)", err=True)
            else:
                self._opened = authority.load(self.path, passphrase)
        return self._opened

    def for_doors(self, nodes: Iterable[NodeAccess], *, create: bool = False) -> Authority | None:
        """The authority, if some of these nodes can only be reached with it, and if there is one."""
        if not any(node.access == "runtime" for node in nodes):
            return None
        return self.open(create=create) if create or self.path.exists() else None


def authority_file(state: Path | None, paths: Sequence[Path]) -> AuthorityFile:
    """The authority of the repository that holds `paths`."""
    from orchestrator.trust.place import state_directory

    return AuthorityFile(state_directory(state, paths, os.environ))


def new_hosts(nodes: Mapping[str, NodeAccess], authority: Authority | None) -> Hosts:
    """The ways to these nodes. Nothing is open yet; the caller closes them."""
    from orchestrator.apply.access import Doors, Hosts

    return Hosts(nodes, Doors(authority, time.time(), os.environ))


def confirm_or_stop(question: str) -> None:
    """Go on only if a person says so."""
    if not click.confirm(question, default=False, err=True):
        raise OperatorError("nothing was changed")


def need_consent(*, yes: bool) -> None:
    """Stop before anything is done if nobody could answer the question that would come."""
    if not yes and not _person_there():
        raise OperatorError(
            "there is no terminal to ask for confirmation: give --yes, or review a plan first "
            "(syncgraph plan -o FILE) and apply that (syncgraph apply FILE)"
        )


def _person_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _prompt(question: str) -> str:
    answer: str = click.prompt(question, hide_input=True, err=True)
    return answer
