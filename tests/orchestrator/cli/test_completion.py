"""`syncgraph completion`: the scripts are read by their shells, and complete the commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import syncgraph
from orchestrator.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(syncgraph, ["completion", shell])
    assert result.exit_code == 0
    assert "_SYNCGRAPH_COMPLETE" in result.stdout
    program = shutil.which(shell)
    if program:
        check = subprocess.run(
            [program, "-n"], input=result.stdout, text=True, capture_output=True, check=False
        )
        assert check.returncode == 0, check.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_a_command(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    program = tmp_path / "syncgraph"
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from orchestrator.cli import main; main()' \"$@\"\n"
    )
    program.chmod(0o755)
    script = CliRunner().invoke(syncgraph, ["completion", "bash"]).stdout
    asked = "COMP_WORDS=(syncgraph val); COMP_CWORD=1; _syncgraph_completion syncgraph; echo ${COMPREPLY[@]}"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    result = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], text=True, capture_output=True, env=environment, check=False
    )
    assert result.stdout.strip() == "validate", result.stderr
