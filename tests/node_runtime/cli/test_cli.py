"""The command line itself: its table, its options, its log lines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from node_runtime import VERSION, cli
from node_runtime.cli.log import JsonLines, TextLines
from node_runtime.cli.run import Listen
from tests.support.nodes import PROGRAM, ROOT


def test_help_shows_what_people_call() -> None:
    shown = CliRunner().invoke(cli.syncgraph_node, ["--help"]).output
    assert all(name in shown for name in ("init", "run", "status", "control"))
    assert "pair" not in shown
    assert "serve" not in shown


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in cli.HIDDEN])
def test_each_command_has_help_with_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli.syncgraph_node, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Example" in shown.output
    assert "syncgraph-node" in shown.output


def test_version_imports_nothing_slow() -> None:
    slow = ("asyncssh", "asyncio", "apscheduler", "cryptography", "networkx", "watchdog", "apsw", "blake3")
    program = (
        "import sys; sys.argv[1:] = ['--version']\n"
        "from node_runtime.cli import main\n"
        "try: main()\n"
        f"finally: print([name for name in {slow!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout.splitlines() == [f"syncgraph-node, version {VERSION}", "[]"]


def test_an_unknown_command_is_one_message() -> None:
    ran = subprocess.run([*PROGRAM, "rum"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 2
    assert "No such command 'rum'" in ran.stderr


def test_the_default_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNCGRAPH_NODE_STATE", raising=False)
    monkeypatch.setenv("HOME", "/home/sync")
    monkeypatch.setenv("XDG_STATE_HOME", "relative, so it counts as unset")
    assert cli.default_state() == Path("/home/sync/.local/state/syncgraph-node")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert cli.default_state() == Path("/xdg/syncgraph-node")
    monkeypatch.setenv("SYNCGRAPH_NODE_STATE", "/elsewhere")
    assert cli.default_state() == Path("/elsewhere")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:7722", ("0.0.0.0", 7722)),
        ("[::1]:7722", ("::1", 7722)),
        (":7722", ("", 7722)),
        ("*:7722", ("", 7722)),
        ("7722", ("", 7722)),
        ("hub.example.net:0", ("hub.example.net", 0)),
    ],
)
def test_listen_addresses(text: str, address: tuple[str, int]) -> None:
    assert Listen().convert(text, None, None) == address


@pytest.mark.parametrize("text", ["", "hub", "hub:", "::1:7722", "hub:70000", "hub:-1", "hub:²"])
def test_listen_addresses_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="isn't HOST:PORT"):
        Listen().convert(text, None, None)


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    try:
        raise ZeroDivisionError("a fault")
    except ZeroDivisionError:
        fault = sys.exc_info() if failed else None
    return logging.LogRecord("node_runtime.net.ssh", logging.INFO, "", 0, message, arguments, fault)


def test_a_log_line_stays_one_line_whatever_a_stranger_writes() -> None:
    nasty = "spoke\n2026 INFO net.ssh: login \x1b[31mroot\u2028"
    text = TextLines().format(record("login user=%s", nasty, failed=True))
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\u2028" not in text
    assert "INFO net.ssh: login user=spoke\\n2026" in text
    assert "ZeroDivisionError: a fault" in text


def test_a_json_log_line_holds_everything() -> None:
    line = JsonLines().format(record("login user=%s", "a\nb", failed=True))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == (
        "info",
        "node_runtime.net.ssh",
        "login user=a\nb",
    )
    assert told["traceback"].endswith("ZeroDivisionError: a fault")
    assert told["time"].endswith("Z")
