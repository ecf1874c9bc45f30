"""`syncgraph sync` over a real OpenSSH server on loopback, as a user would call it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import same, tree_of, write
from tests.support.sshd import MISSING, Sshd, sshd
from tests.support.sync import ROOT, Sync, sync_program
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        config = running.directory / "client_config"
        config.write_text(running.client_config + "  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n")
        yield running


@pytest.fixture
def sync(tmp_path: Path, server: Sshd) -> Sync:
    return sync_program(tmp_path)


def over(server: Sshd, far_state: Path) -> list[str]:
    """The options of a user whose runtime isn't on the far side's PATH."""
    program = f"{sys.executable} -m node_runtime.cli"
    remote = f"env PYTHONPATH={shlex.quote(str(ROOT))} XDG_STATE_HOME={shlex.quote(str(far_state))} {program}"
    return ["--ssh", f"ssh -F {server.directory}/client_config", "--remote-command", remote]


@pytest.mark.parametrize("away", [True, False], ids=["to-host", "from-host"])
@pytest.mark.parametrize("options", [[], ["--both"]], ids=["one-way", "both"])
def test_both_directions(sync: Sync, server: Sshd, tmp_path: Path, away: bool, options: list[str]) -> None:
    ssh = over(server, tmp_path / "far")
    write(tmp_path / "a", {"x": "1", "d/y": "2" * 3_000_000, b"odd \xff": "3", "l": Path("x")})
    far = f"tested:{tmp_path}/b" if away else f"tested:{tmp_path}/a"
    pair = ["a", far] if away else [far, "b"]
    done = sync(*pair, "--json", *ssh, *options)
    assert done.code == 0, done.stderr
    assert done.summary["bytesOnWire"] == 3_000_002
    assert tree_of(tmp_path / "b") == tree_of(tmp_path / "a")
    (tmp_path / "a" / "x").unlink()
    done = sync(*pair, "--json", "--delete", *ssh, *options)
    assert (done.code, done.summary["bytesOnWire"], done.summary["deleted"]) == (0, 0, 1)
    assert tree_of(tmp_path / "b") == tree_of(tmp_path / "a")


def test_a_far_side_without_the_runtime_is_told_apart(sync: Sync, server: Sshd, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    ssh = ["--ssh", f"ssh -F {server.directory}/client_config", "--remote-command", "not-installed-here"]
    done = sync("a", f"tested:{tmp_path}/b", *ssh)
    assert done.code == 1
    assert "--remote-command" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_far_side_that_chatters_is_named(sync: Sync, server: Sshd, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    ssh = ["--ssh", f"ssh -F {server.directory}/client_config", "--remote-command", "echo Welcome;"]
    done = sync("a", f"tested:{tmp_path}/b", *ssh)
    assert done.code == 1
    assert "Welcome" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_not_known_is_not_trusted(sync: Sync, server: Sshd, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    (tmp_path / "config").write_text(
        (server.directory / "client_config").read_text().replace("known_hosts", "known_nobody")
    )
    done = sync("a", f"tested:{tmp_path}/b", "--ssh", f"ssh -F {tmp_path}/config")
    assert done.code == 1
    assert "ssh could not connect" in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_missing_far_source(sync: Sync, server: Sshd, tmp_path: Path) -> None:
    done = sync(f"tested:{tmp_path}/missing", "b", *over(server, tmp_path / "far"))
    assert done.code == 1
    assert "isn't a directory" in done.stderr
    assert not (tmp_path / "b").exists()


def test_watching_over_ssh_ends_in_good_order(sync: Sync, server: Sshd, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, {"x": "1"})
    with sync.started("a", f"tested:{b}", "--watch", "--both", *over(server, tmp_path / "far")) as watching:
        wait_until(lambda: b.exists() and same(a, b), "the first pass")
        write(b, {"back": "2"})
        wait_until(lambda: same(a, b), "an edit there comes here")
        os.killpg(watching.pid, signal.SIGINT)
        out, err = watching.communicate(timeout=20)
        assert watching.returncode == 0, err
        assert "in step" in out
        assert "Traceback" not in err
