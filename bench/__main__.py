"""`python -m bench`: measure everything and write RESULTS.md. `python -m bench NAME…`: those cases, printed.

Exit code 0 if all floors are reached, 1 if one is missed or a case could not be measured. Reading order:
`case`, `measure`, `cases_…`, `report`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import machine
from bench.case import CannotMeasure, Case, Plan
from bench.report import Circumstances, Outcome, all_well, markdown
from bench.table import CASES

RESULTS = Path(__file__).with_name("RESULTS.md")
NEEDED_BYTES = 6_000_000_000  # the largest case: a source, a target, and room for what is on its way


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    # Ended from outside it still removes its work data, and ends what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    chosen = [case for case in CASES if not options.names or case.name in options.names]
    load = machine.load()
    circumstances = Circumstances(
        taken=time.strftime("%Y-%m-%d %H:%M %Z"),
        command=" ".join(["python -m bench", *arguments]),
        machine=machine.describe(),
        file_system=machine.file_system(options.dir),
        load=load,
        load_is_high=load > machine.BUSY,
        runs=options.runs,
    )
    outcomes: list[Outcome] = []
    for case in chosen:
        outcomes.append(_take(case, options.dir, options.runs))
        if not options.names:
            RESULTS.write_text(markdown(outcomes, circumstances))
    report = markdown(outcomes, circumstances)
    print(report if options.names else f"written: {RESULTS}")
    return 0 if all_well(outcomes) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = ", ".join(case.name for case in CASES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"cases to run; all by default: {names}")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where work data go")
    parser.add_argument("--runs", type=int, default=3, help="how often each figure is taken (default 3)")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {names}")
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    if not options.dir.is_dir():
        parser.error(f"--dir {options.dir} isn't a directory")
    if shutil.disk_usage(options.dir).free < NEEDED_BYTES:
        parser.error(f"--dir {options.dir} has less than {NEEDED_BYTES / 1e9:.0f} GB free")
    return options


def _take(case: Case, directory: Path, runs: int) -> Outcome:
    """Run one case in directories of its own."""
    outcome = Outcome(case.name, case.what)
    print(f"{case.name}: {case.what} …", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        work = stack.enter_context(_work_directory(directory))
        memory = machine.memory_directory(work, NEEDED_BYTES)
        in_memory = None if memory is None else stack.enter_context(_work_directory(memory))
        try:
            for figure in case.measure(Plan(work, in_memory, runs)):
                outcome.figures.append(figure)
                mark = " MISSED" if figure.missed else ""
                print(
                    f"  {figure.what}: {figure.median:.3g} {figure.unit}{mark}", file=sys.stderr, flush=True
                )
        except (CannotMeasure, OSError) as error:
            outcome.failure = str(error)
            print(f"  could not be measured: {error}", file=sys.stderr, flush=True)
    return outcome


@contextmanager
def _work_directory(parent: Path) -> Iterator[Path]:
    """A new directory, gone afterwards however the case ends. Cases may remove and make it anew."""
    path = Path(tempfile.mkdtemp(prefix="syncgraph-bench-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
