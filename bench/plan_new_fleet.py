"""A program that does what `syncgraph plan` does, where every node has answered that it is new.

Run as `python -m bench.plan_new_fleet DIRECTORY`. Only the asking is left out; reading, checking, compiling,
comparing, and writing the plan for a person are the command's own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.load import load
from orchestrator.model import compile_fleet
from orchestrator.plan import Observed, diff
from orchestrator.render import plan_text


def main(directory: Path) -> int:
    loaded = load([directory])
    compiled = compile_fleet(loaded)
    problems = [*loaded.problems, *compiled.problems]
    if any(problem.severity == "error" for problem in problems):
        print(problems[0].message, file=sys.stderr)
        return 1
    answers = {node.name: Observed(node.name) for node in compiled.nodes}
    plan = diff(compiled.node_plans, answers, now=time.time())
    text = plan_text(plan, False)
    print(text)
    counts = (
        (len(compiled.nodes), "nodes"),
        (len(compiled.edges), "edges"),
        (len(text.splitlines()), "lines shown"),
    )
    print(", ".join(f"{count:,} {what}" for count, what in counts))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
