"""`make demo`: from a YAML file to three trees in step, with real processes, real SSH and real files.

One hub and two spokes run on this machine, each with its own SSH port, keys and state. Every command is the
one that a user would type, and is printed before it runs. Whatever isn't as promised ends the demo with a
message and exit code 1. With --keep everything goes on running at the end, for you to try.

Reading order: this file, then `fleet` (the processes) and `trees` (the files).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import trees
from fleet import Broken, Fleet, say, wait_for

NAMES = ("hub", "spoke-1", "spoke-2")
SEED = 20_261_122
COUNT_S = 0.5  # between two looks at the runtimes' counters: each costs a process
SHOWN_DIRECTORY = "from spoke-1"


def heading(text: str) -> None:
    """A new act."""
    say(f"\n── {text} {'─' * max(0, 74 - len(text))}", "heading")


def good(text: str) -> None:
    """Something that was looked at and is as promised."""
    say(f"✓ {text}", "good")


def in_step(fleet: Fleet, what: str) -> trees.Tree:
    """Wait until all trees are alike; the tree."""
    tree: trees.Tree = wait_for(lambda: trees.settled(fleet.trees), f"{what} in all trees")
    return tree


def arrived(fleet: Fleet, path: str, *, gone: bool = False) -> None:
    """Wait until `path` is in all trees, or gone from all of them, and the trees are alike."""

    def there() -> bool:
        tree = trees.settled(fleet.trees)
        return tree is not None and (os.fsencode(path) in tree) != gone

    began = time.monotonic()
    wait_for(there, f"{path} is {'gone from' if gone else 'in'} all trees")
    good(f"{'gone from' if gone else 'in'} all three trees after {time.monotonic() - began:.1f} s: {path}")


def prepare(fleet: Fleet) -> None:
    """The files, the keys, the processes, the YAML."""
    heading("Three nodes, each with its own key, state, SSH port and files")
    chance = random.Random(SEED)
    trees.fill_hub(fleet.nodes["hub"].tree, chance)
    for name in ("spoke-1", "spoke-2"):
        trees.fill_spoke(fleet.nodes[name].tree, chance, name)
    key = fleet.run("syncgraph", "authority", captured=True).strip()
    say(key)
    (fleet.directory / "authority.pub").write_text(key + "\n")
    for node in fleet.nodes.values():
        words = ("init", "--state", f"../nodes/{node.name}", "--authority", "../authority.pub")
        node.key = fleet.run("syncgraph-node", *words, "--node", node.name, captured=True).strip()
        say(node.key)
        fleet.start(node.name)
        say(f"process {node.process and node.process.pid}, SSH port {node.port}", "dim")
    say()
    fleet.write_documents()
    for node in fleet.nodes.values():
        found = trees.look(node.tree).values()
        size = sum(seen.size_bytes for seen in found)
        files = sum(seen.kind == "file" for seen in found)
        say(f"  {node.name:8} {files:4} files, {size / 1e6:6.1f} MB in {node.tree}", "dim")


def declare(fleet: Fleet) -> None:
    """Validate, plan, apply, and watch the files move."""
    heading("What is declared")
    say((fleet.repository / "topology.yaml").read_text().partition("spec:\n")[2].rstrip())
    fleet.run("syncgraph", "validate")
    fleet.run("syncgraph", "plan")
    expected = {path for root in fleet.trees for path in trees.look(root)}
    fleet.run("syncgraph", "apply", "--yes")
    show_progress(fleet, len(expected))
    tree = in_step(fleet, "everything")
    if set(tree) != expected:
        raise Broken(f"the trees agree, but on {len(tree)} paths where {len(expected)} were written")
    files = sum(seen.kind == "file" for seen in tree.values())
    good(f"all three trees hold the same {files} files, {len(tree)} paths")


def show_progress(fleet: Fleet, paths: int) -> None:
    """A bar for each node while the files move."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} paths, {task.fields[received]:.1f} MB received"),
    )
    say()
    with Progress(*columns, console=Console(highlight=False), refresh_per_second=10) as progress:
        bars = {name: progress.add_task(name, total=paths, received=0.0) for name in NAMES}
        counted = 0.0

        def moved() -> bool:
            nonlocal counted
            for name, node in fleet.nodes.items():
                progress.update(bars[name], completed=count_paths(node.tree))
            done = all(task.finished for task in progress.tasks)
            if done or time.monotonic() - counted > COUNT_S:
                for name, totals in fleet.totals().items():
                    progress.update(bars[name], received=totals["receivedBytes"] / 1e6)
                counted = time.monotonic()
            return done

        wait_for(moved, "the files have moved")


def count_paths(root: Path) -> int:
    """How many paths a tree holds that is changing at the moment."""
    try:
        return len(trees.look(root))
    except FileNotFoundError:
        return 0


def change(fleet: Fleet) -> None:
    """Edit, rename and delete, each on another node."""
    hub, one, two = fleet.trees
    heading("An edit on spoke-1 reaches the hub and spoke-2")
    with (one / "docs/00/report-007.txt").open("a") as file:
        file.write("one more line, written on spoke-1\n")
    edited = (one / "docs/00/report-007.txt").read_bytes()
    arrived(fleet, "docs/00/report-007.txt")
    if (two / "docs/00/report-007.txt").read_bytes() != edited:
        raise Broken("spoke-2 doesn't hold what was written on spoke-1")

    heading("Renames: a file on spoke-2, a directory with a 50 MB file at the hub")
    before = received(fleet)
    (two / "docs/01/report-041.txt").rename(two / "docs/01/final report.txt")
    arrived(fleet, "docs/01/final report.txt")
    (hub / "media").rename(hub / "archive")
    arrived(fleet, "archive/film.bin")
    if any(path.partition(b"/")[0] == b"media" for path in trees.look(hub)):
        raise Broken("media was renamed, and is still there")
    moved = received(fleet) - before
    if moved:
        raise Broken(f"{moved} bytes of content crossed for renames")
    good("0 bytes of content crossed for both renames")

    heading("Deletes: a file at the hub, a directory with 60 files on spoke-2")
    (hub / "docs/02/report-080.txt").unlink()
    arrived(fleet, "docs/02/report-080.txt", gone=True)
    shutil.rmtree(two / SHOWN_DIRECTORY)
    arrived(fleet, SHOWN_DIRECTORY, gone=True)


def received(fleet: Fleet) -> int:
    """Content bytes that all nodes have received since they started."""
    return sum(totals["receivedBytes"] for totals in fleet.totals().values())


def disagree(fleet: Fleet) -> None:
    """A genuine conflict: both spokes edit one file while they can't hear of each other."""
    heading("A conflict: spoke-2 is offline while both spokes edit notes/minutes.txt")
    hub, one, two = (root / "notes/minutes.txt" for root in fleet.trees)
    fleet.stop("spoke-2")
    say("spoke-2 is stopped", "dim")
    one.write_text("Minutes\n- written on spoke-1\n")
    two.write_text("Minutes\n- written on spoke-2, offline\n")
    texts = {one.read_text(), two.read_text()}
    wait_for(lambda: hub.read_text() == "Minutes\n- written on spoke-1\n", "the hub has spoke-1's edit")
    fleet.start("spoke-2")
    say("spoke-2 is back", "dim")

    def kept(root: Path) -> dict[str, str]:
        return {found.name: found.read_text() for found in sorted((root / "notes").iterdir())}

    def both_everywhere() -> bool:
        return trees.settled(fleet.trees) is not None and set(kept(fleet.trees[0]).values()) == texts

    wait_for(both_everywhere, "both contents are kept in all trees")
    for name, text in kept(fleet.trees[0]).items():
        say(f"  notes/{name}:  {text.splitlines()[-1]}")
    good("both contents are in all three trees")


def conclude(fleet: Fleet) -> None:
    """Nothing left to apply, status, and the proof by hash."""
    heading("Applied again: nothing to do")
    fleet.run("syncgraph", "plan", "--detailed-exitcode")  # 0 says no changes, 2 would end the demo
    fleet.run("syncgraph", "apply", "--yes")

    heading("Where it stands")
    wait_for(lambda: fleet.status()["overall"] == "in-step", "every edge reports that it is in step")
    fleet.run("syncgraph", "status")

    heading("The proof: SHA-256 over every path, mode, link and byte of each tree")
    prints = {node.name: trees.fingerprint(node.tree) for node in fleet.nodes.values()}
    for name, fingerprint in prints.items():
        say(f"  {name:8} {fingerprint}")
    if len(set(prints.values())) != 1:
        raise Broken("the trees differ")
    good("all trees agree")


def explain(fleet: Fleet) -> None:
    """What to try, and how to stop it."""
    heading("It goes on running. Try:")
    processes = " ".join(str(node.process.pid) for node in fleet.nodes.values() if node.process)
    one, two = fleet.trees[1:]
    path = f'export PATH="{Path(sys.executable).parent}:$PATH"'
    say(f"""\
  {path} SYNCGRAPH_PASSPHRASE_FILE={fleet.passphrase_file}
  cd {fleet.repository}

  syncgraph status --watch                 # leave it open in another terminal
  echo hello > {one}/hello.txt; sleep 1; cat {two}/hello.txt
  syncgraph graph --format mermaid
  syncgraph explain '*spoke-1*'
  $EDITOR topology.yaml; syncgraph plan; syncgraph apply
  tail -f {fleet.directory}/nodes/*.log

To stop it, and to remove everything:
  kill {processes}; sleep 1; rm -r {fleet.directory}""")


def main() -> int:
    """Tell the story; 0 only if everything was as promised."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="syncgraph-demo-")).resolve()
    fleet = Fleet(directory, NAMES)
    code = 1
    try:
        for act in (prepare, declare, change, disagree, conclude):
            act(fleet)
        code = 0
        if keep:
            explain(fleet)
    except Broken as broken:
        say(f"\nThe demo failed: {broken}\n")
    except KeyboardInterrupt:
        say("\nInterrupted; stopping what was started.\n")
        code = 130
    finally:
        if code or not keep:
            code = clean_up(fleet, code)
    if not code and not keep:
        heading(f"Done in {time.monotonic() - began:.0f} s; everything that was started is stopped")
    return code


def clean_up(fleet: Fleet, code: int) -> int:
    """Stop all processes; remove the files, except after a failure, when they are evidence. The exit code."""
    try:
        fleet.stop_all()
    except Broken as broken:
        say(f"\nThe demo failed: {broken}")
        code = code or 1
    if code == 1:
        say(f"Logs and trees are left in {fleet.directory}")
    else:
        shutil.rmtree(fleet.directory)
    return code


if __name__ == "__main__":
    sys.exit(main())
