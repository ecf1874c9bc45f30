"""`syncgraph authority`: made once, printed ever after."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, ["authority", *map(str, arguments)])


def test_the_authority_is_made_once_and_then_shown_without_a_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "correct horse battery staple")
    first = run(tmp_path)
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("ssh-ed25519 ")
    assert first.stdout.count("\n") == 1  # fit to be kept in a file as it is
    key_file = tmp_path / ".syncgraph" / "authority"
    made = key_file.read_bytes()

    monkeypatch.delenv("SYNCGRAPH_PASSPHRASE")
    assert run(tmp_path).stdout == first.stdout
    assert json.loads(run(tmp_path, "--json").stdout) == {
        "state": str(tmp_path / ".syncgraph"),
        "publicKey": first.stdout.strip(),
    }
    assert key_file.read_bytes() == made


def test_nothing_is_made_without_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNCGRAPH_PASSPHRASE", raising=False)
    monkeypatch.delenv("SYNCGRAPH_PASSPHRASE_FILE", raising=False)
    refused = run(tmp_path)
    assert refused.exit_code == 1
    assert "SYNCGRAPH_PASSPHRASE" in str(refused.exception)
    assert not (tmp_path / ".syncgraph" / "authority").exists()
