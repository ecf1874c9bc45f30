"""`syncgraph init`: write a small working repository. Never overwrites a file."""

from __future__ import annotations

import re
from pathlib import Path

import click

from orchestrator.cli.output import echo
from orchestrator.errors import OperatorError

SCHEMAS = ".syncgraph/schemas"

INVENTORY = """\
# yaml-language-server: $schema={schemas}/inventory.schema.json
apiVersion: syncgraph/v1
kind: Inventory
metadata: {{name: "{name}"}}
spec:
  defaults:
    # The rest comes from your ~/.ssh/config. These fit the systemd unit that comes with syncgraph.
    ssh: {{user: syncgraph, command: /opt/syncgraph/bin/syncgraph-node}}
    runtime: {{state: /var/lib/syncgraph-node}}
  nodes:
    - name: hub
      address: hub.example.net          # put your own machines here
      labels: {{role: hub}}
    - name: "office-[1:2]"              # office-1 and office-2
      address: "$(name).example.net"
      labels: {{role: office}}
"""

TOPOLOGY = """\
# yaml-language-server: $schema={schemas}/topology.schema.json
apiVersion: syncgraph/v1
kind: Topology
metadata: {{name: "{name}"}}
spec:
  inventory: [inventory.yaml]
  defaults:
    sync: {{mode: continuous}}            # or once, or scheduled with a schedule
    conflict: {{policy: keep-both}}
    filters:
      - exclude: "*.tmp"
  graphs:
    - name: offices
      shape: hub-and-spoke
      hub: "hub:/srv/files"
      spokes: {{selector: role=office, path: /srv/files}}
      direction: both                   # or to-hub, or to-spokes
"""

GITIGNORE = """\
# the certificate authority and local state; the schemas are for editors and may be shared
/.syncgraph/*
!/.syncgraph/schemas/
*.plan.json
"""

README = """\
# {name}

What is declared here is what runs: `inventory.yaml` names the machines, `topology.yaml` says which
directories on them are kept in step, and how.

1. Put your own machines into `inventory.yaml` and your own directories into `topology.yaml`.
2. Install syncgraph on each machine and start its runtime: `syncgraph-node run`.
3. Check, look, apply:

       syncgraph validate
       syncgraph plan
       syncgraph apply

4. See how it goes: `syncgraph status --watch`. Draw it: `syncgraph graph --format svg -o graph.svg`.

Where a setting comes from: `syncgraph explain '*office-1*'`. To stop everything, files kept:
`syncgraph destroy`. Commit every change: Git holds what is desired, the nodes hold what runs.

`.syncgraph/` holds this repository's certificate authority. It is not committed: keep a copy where your
other keys are. `.syncgraph/schemas/` lets editors complete and check the YAML.
"""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Write a small working repository into DIR: an inventory, a topology, and schemas for editors.

    Existing files are never overwritten: if one is in the way, nothing is written.

    \b
    Example:
      syncgraph init my-fleet && syncgraph validate my-fleet
    """
    files = _files(directory)
    there = [path for path in files if path.is_symlink() or path.exists()]
    if there:
        raise OperatorError(
            f"{', '.join(str(path) for path in there)} {'is' if len(there) == 1 else 'are'} already there; "
            "nothing was written. Name another directory."
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise OperatorError(f"{error.filename} can't be written: {error.strerror}") from None
    for path in files:
        echo(f"{click.style('+', fg='green')} {path}")
    echo(
        f"Next: put your machines into {directory / 'inventory.yaml'}, "
        f"then run `syncgraph validate {directory}`."
    )


def _files(directory: Path) -> dict[Path, str]:
    from schemas.files import schema_text

    values = {"name": _name(directory), "schemas": SCHEMAS}
    files = {
        "inventory.yaml": INVENTORY.format(**values),
        "topology.yaml": TOPOLOGY.format(**values),
        ".gitignore": GITIGNORE,
        "README.md": README.format(**values),
        **{f"{SCHEMAS}/{name}.schema.json": schema_text(name) for name in ("inventory", "topology")},
    }
    return {directory / name: text for name, text in files.items()}


def _name(directory: Path) -> str:
    """The directory's name as a name of ours; "files" where nothing of it can stay."""
    name = re.sub("[^a-z0-9]+", "-", directory.resolve().name.casefold()).strip("-")
    return name[:63].rstrip("-") or "files"
