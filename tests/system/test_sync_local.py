"""`syncgraph sync` between two directories of this machine: real programs, real trees."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.engine import remove, same, tree_of, write
from tests.support.sync import Sync, sync_program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system

SUMMARY = {
    "files", "directories", "bytes", "bytesOnWire", "renamed", "deleted", "conflicts", "failed", "seconds",
}  # fmt: skip


@pytest.fixture
def sync(tmp_path: Path) -> Sync:
    return sync_program(tmp_path)


def test_a_first_sync_and_what_it_says(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1", "d/y": "22", "empty/": None, "link": Path("x"), b"odd \xff": "3"})
    before = tree_of(tmp_path / "a")
    done = sync("a", "b", "--json")
    assert done.code == 0
    assert done.summary.keys() >= SUMMARY
    assert (done.summary["files"], done.summary["directories"], done.summary["bytes"]) == (4, 2, 4)
    assert tree_of(tmp_path / "b") == before == tree_of(tmp_path / "a")
    assert ".syncgraph" not in os.listdir(tmp_path / "a")
    again = sync("a", "b", "--json")
    assert (again.summary["files"], again.summary["bytesOnWire"]) == (0, 0)


def test_a_dry_run_changes_neither_tree(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1", "d/y": "22"})
    done = sync("a", "b", "--dry-run", "--json")
    assert (done.code, done.summary["files"], done.summary["dryRun"]) == (0, 2, True)
    assert sorted(os.listdir(tmp_path / "a")) == ["d", "x"]
    assert not (tmp_path / "b").exists()
    write(tmp_path / "b", {"x": "other", "only here": "b"})
    before = _everything(tmp_path / "a"), _everything(tmp_path / "b")
    for options in (["--delete"], ["--both"], ["--no-delete"]):
        assert sync("a", "b", "--dry-run", *options).code == 0
    assert (_everything(tmp_path / "a"), _everything(tmp_path / "b")) == before


def test_a_dry_run_lists_what_it_would_do(sync: Sync, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, {"d/f": "1", "edited": "2", "mode": "3", "old": "four", "same": "5", "gone": "6"})
    first = sync("a", "b", "--dry-run")
    assert first.stdout.splitlines()[:-1] == [
        "+ d", "+ d/f", "+ edited", "+ gone", "+ mode", "+ old", "+ same",
    ]  # fmt: skip
    done = sync("a", "b", "--json")
    assert "planned" not in done.summary
    write(a, {"edited": "other", "line\nbreak": "7"})
    (a / "mode").chmod(0o600)
    os.rename(a / "old", a / "new")
    remove(a / "gone")
    before = tree_of(b)
    listed = sync("a", "b", "--dry-run", "--delete")
    assert listed.stdout.splitlines()[:-1] == [
        "~ edited", "- gone", "+ line\N{REPLACEMENT CHARACTER}break", "~ mode", "old → new",
    ]  # fmt: skip
    planned = sync("a", "b", "--dry-run", "--delete", "--json").summary["planned"]
    assert [(each["action"], each["path"], each["from"]) for each in planned] == [
        ("update", "edited", None),
        ("delete", "gone", None),
        ("create", "line\nbreak", None),
        ("metadata", "mode", None),
        ("rename", "new", "old"),
    ]
    assert tree_of(b) == before


def test_a_dry_run_both_ways_says_whose_tree_would_change(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"f": "base"})
    sync("a", "b", "--both")
    write(tmp_path / "a", {"f": "left", "a only": "a"})
    write(tmp_path / "b", {"f": "right!", "b only": "b"})
    planned = sync("a", "b", "--both", "--dry-run", "--json").summary["planned"]
    assert [(each["action"], each["path"]) for each in planned] == [
        ("create", "a only"), ("create", "b only"), ("conflict", "f"),
    ]  # fmt: skip
    assert [each["end"] for each in planned[:2]] == ["target", "source"]
    assert "+ b only  in SRC" in sync("a", "b", "--both", "--dry-run").stdout.splitlines()


def _everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All below a directory with its times, nothing left out."""
    return {
        str(path): (
            path.lstat().st_mtime_ns,
            path.lstat().st_ino,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (root, *root.rglob("*"))
    }


def test_deletes_travel_only_when_asked(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1", "gone": "2"})
    write(tmp_path / "b", {"only here": "3"})
    sync("a", "b")
    remove(tmp_path / "a" / "gone")
    sync("a", "b")
    assert set(tree_of(tmp_path / "b")) == {b"x", b"gone", b"only here"}
    done = sync("a", "b", "--delete", "--json")
    assert set(tree_of(tmp_path / "b")) == {b"x"}
    assert done.summary["deleted"] == 2
    kept = {p.read_text() for p in (tmp_path / "b/.syncgraph/versions").rglob("*") if p.is_file()}
    assert kept == {"2", "3"}


def test_exclude(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1", "y.tmp": "2", "cache/z": "3"})
    sync("a", "b", "--exclude", "*.tmp", "--exclude", "cache/")
    assert set(tree_of(tmp_path / "b")) == {b"x"}


def test_both_ways_with_conflicts(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"f": "base", "a only": "a"})
    write(tmp_path / "b", {"b only": "b"})
    assert sync("a", "b", "--both").code == 0
    assert tree_of(tmp_path / "a") == tree_of(tmp_path / "b")
    write(tmp_path / "a", {"f": "left"})
    write(tmp_path / "b", {"f": "right"})
    held = sync("a", "b", "--both", "--conflict", "hold", "--json")
    assert held.code == 4
    assert held.summary["conflicts"] == [{"path": "f", "copy": None}]
    done = sync("a", "b", "--both", "--json")
    assert done.code == 0
    assert tree_of(tmp_path / "a") == tree_of(tmp_path / "b")
    [conflict] = done.summary["conflicts"]
    assert {(tmp_path / "a" / name).read_text() for name in ("f", conflict["copy"])} == {"left", "right"}


def test_paths_that_fail_are_listed(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"good": "1", "p/f": "2"})
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "p")
    done = sync("a", "b", "--json")
    assert done.code == 3
    assert {failed["path"] for failed in done.summary["failed"]} == {"p", "p/f"}
    assert (tmp_path / "b" / "good").read_text() == "1"
    (tmp_path / "b" / "p").unlink()
    assert sync("a", "b").code == 0
    assert (tmp_path / "b" / "p" / "f").read_text() == "2"


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="gives up root's right to read all"
)
def test_a_file_nobody_may_read_fails_alone(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"good": "1", "secret": "2", "locked/in": "3"})
    (tmp_path / "a" / "secret").chmod(0)
    (tmp_path / "a" / "locked").chmod(0)
    done = sync("a", "b", "--json", under=("setpriv", "--bounding-set=-dac_override,-dac_read_search"))
    assert done.code == 3, done.stderr
    assert {b"secret", b"locked"} <= {failed["path"].encode() for failed in done.summary["failed"]}
    assert (tmp_path / "b" / "good").read_text() == "1"
    (tmp_path / "a" / "secret").chmod(0o644)
    (tmp_path / "a" / "locked").chmod(0o755)
    assert sync("a", "b").code == 0
    assert tree_of(tmp_path / "b") == tree_of(tmp_path / "a")


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("missing", "b", "isn't a directory"),
        ("file", "b", "isn't a directory"),
        ("a", "file", "isn't a directory"),
        ("a", "a", "same directory"),
        ("a", "link to a", "same directory"),
        ("a", "a/below", "inside"),
        ("a", "host:x:y", "far end ended"),
        ("one:a", "two:b", "must be on this machine"),
        ("", "b", "empty path"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--both"]], ids=["one-way", "both"])
def test_what_can_not_be_is_said_in_one_line(
    sync: Sync, tmp_path: Path, source: str, target: str, says: str, options: list[str]
) -> None:
    write(tmp_path / "a", {"x": "1", "below/y": "2"})
    write(tmp_path, {"file": "3"})
    (tmp_path / "link to a").symlink_to(tmp_path / "a")
    if source == "missing" and options:
        return  # both ways, a missing directory is made
    before = tree_of(tmp_path)
    done = sync(source, target, "--ssh", "false", *options)
    assert done.code == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert tree_of(tmp_path).keys() - {b"state"} == before.keys()


def test_an_emptied_source_does_not_empty_the_target(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1", "d/y": "2"})
    sync("a", "b")
    for name in ("x", "d"):
        remove(tmp_path / "a" / name)
    done = sync("a", "b", "--delete", "--json")
    assert done.code == 3
    assert set(tree_of(tmp_path / "b")) == {b"x", b"d", b"d/y"}


def test_two_at_once_on_one_tree(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    with sync.started("a", "b", "--watch") as first:
        wait_until(lambda: (tmp_path / "b" / "x").exists(), "the first sync has begun")
        second = sync("a", "b")
        assert second.code == 1
        assert "Traceback" not in second.stderr
        assert "error: " in second.stderr
        assert "use" in second.stderr or "another" in second.stderr
        assert first.poll() is None


@pytest.mark.parametrize("ctrl_c", [True, False], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("options", [[], ["--both"]], ids=["one-way", "both"])
def test_watching_follows_until_it_is_told_to_end(
    sync: Sync, tmp_path: Path, options: list[str], ctrl_c: bool
) -> None:
    write(tmp_path / "a", {"x": "1", "d/y": "2", "gone": "3"})
    a, b = tmp_path / "a", tmp_path / "b"
    with sync.started("a", "b", "--watch", "--delete", "--json", *options) as watching:
        wait_until(lambda: b.exists() and same(a, b), "the first pass")
        write(a, {"x": "edited", "new/er/z": "4"})
        remove(a / "gone")
        wait_until(lambda: same(a, b), "edits follow")
        os.rename(a / "d", a / "e")
        wait_until(lambda: same(a, b), "renames follow")
        if options:
            write(b, {"back": "5"})
            wait_until(lambda: same(a, b), "the other way too")
        if ctrl_c:
            os.killpg(watching.pid, signal.SIGINT)  # as a terminal sends it: to all of them
        else:
            watching.send_signal(signal.SIGTERM)
        out, err = watching.communicate(timeout=20)
        assert watching.returncode == 0, err
        assert json.loads(out.splitlines()[-1]).keys() >= SUMMARY
        assert "Traceback" not in err


def test_killed_at_any_moment_then_run_again(sync: Sync, tmp_path: Path) -> None:
    content = random.Random(7)
    write(tmp_path / "a", {f"d{n % 7}/{n}": content.randbytes(20_000) for n in range(400)})
    write(tmp_path / "a", {"large": content.randbytes(30_000_000)})
    b = tmp_path / "b"
    for seen in (1, 150, 300):
        with sync.started("a", "b") as running:
            wait_until(
                lambda seen=seen: running.poll() is not None or sum(1 for _ in b.rglob("*")) >= seen,  # type: ignore[misc]
                f"{seen} paths are there",
            )
            sync.kill(running)
    done = sync("a", "b", "--json")
    assert done.code == 0
    assert tree_of(b) == tree_of(tmp_path / "a")
    again = sync("a", "b", "--json")
    assert (again.summary["files"], again.summary["bytesOnWire"]) == (0, 0)


def test_a_far_end_that_dies_is_an_error(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    with sync.started("a", "b", "--watch") as running:
        wait_until(lambda: (tmp_path / "b" / "x").exists(), "it has begun")
        for pid in sync.children(running, "serve"):
            os.kill(pid, signal.SIGKILL)
        _, err = running.communicate(timeout=20)
        assert running.returncode == 1
        assert "error: " in err
        assert "Traceback" not in err


def test_the_text_is_for_people(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    done = subprocess.run(
        sync.command("a", "b"),
        env=sync.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("in step: 1 file, 1 B")


def test_interrupted_before_the_far_end_answers(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    (tmp_path / "silent").write_text("#!/bin/sh\necho started > started\nexec sleep 60\n")
    (tmp_path / "silent").chmod(0o755)
    with sync.started("a", "host:b", "--ssh", str(tmp_path / "silent")) as running:
        wait_until((tmp_path / "started").exists, "the far end is asked")
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=20)
        assert running.returncode == 1
        assert "interrupted" in err
        assert "Traceback" not in err


def test_a_watch_does_not_outlive_its_program(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    with sync.started("a", "b", "--watch") as running:
        wait_until(lambda: (tmp_path / "b" / "x").exists(), "it has begun")
        assert sync.children(running, "pair")
        running.kill()
        wait_until(
            lambda: not sync.children(running, "pair") + sync.children(running, "serve"), "all have ended"
        )


def test_a_target_that_was_removed_is_filled_anew_one_way_only(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    assert sync("a", "b").code == 0
    shutil.rmtree(tmp_path / "b")
    assert sync("a", "b").code == 0
    assert tree_of(tmp_path / "b") == tree_of(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    assert sync("a", "b", "--both").code == 1  # two ways, a missing b may be an unmounted disk
    assert (tmp_path / "a/x").read_text() == "1"


def test_interrupted_before_anything_has_begun(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    with sync.started("a", "b", "--watch") as running:
        wait_until(lambda: sync.children(running, "pair"), "the near end is being started")
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=20)
        assert "Traceback" not in err
        assert running.returncode == 0 or "interrupted" in err or "Aborted" in err


def test_a_name_in_a_tree_cannot_steer_the_terminal(sync: Sync, tmp_path: Path) -> None:
    name = "clear\x1b[2Jscreen"
    write(tmp_path / "a", {name: "1"})
    assert sync("a", "b", "--both").code == 0
    write(tmp_path / "a", {name: "from a"})
    write(tmp_path / "b", {name: "from b, longer"})
    held = sync("a", "b", "--both", "--conflict", "hold")
    assert held.code == 4
    assert "clear" in held.stdout
    assert "\x1b" not in held.stdout


def test_a_limit_on_deletes_stops_before_the_first(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {f"d/{n}": str(n) for n in range(10)})
    assert sync("a", "b", "--delete", "--max-delete", "50%").code == 0
    for n in range(6):
        remove(tmp_path / "a" / "d" / str(n))
    write(tmp_path / "a", {"new": "goes on"})
    stopped = sync("a", "b", "--delete", "--max-delete", "50%")
    assert stopped.code == 3
    assert "6 deletes are held back by maxDelete 50% of" in stopped.stdout
    assert len(tree_of(tmp_path / "b")) == 12
    again = sync("a", "b", "--delete", "--max-delete", "5", "--json")
    assert (again.code, again.summary["deleted"]) == (3, 0)
    assert again.summary["held"]
    shown = sync("a", "b", "--delete", "--max-delete", "5", "--dry-run")
    assert (shown.code, shown.stdout.count("\n- ") + shown.stdout.startswith("- ")) == (0, 6)
    assert sync("a", "b", "--delete", "--max-delete", "6").code == 0
    assert tree_of(tmp_path / "a") == tree_of(tmp_path / "b")
    wrong = sync("a", "b", "--max-delete", "many")
    assert wrong.code == 1
    assert 'a limit is a number of files, such as 500, or a share of them, such as "25%"' in wrong.stderr


def test_a_mirror_of_the_wrong_directory_is_stopped(sync: Sync, tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    write(tmp_path / "b", {f"precious {n}": str(n) for n in range(600)})
    stopped = sync("a", "b", "--delete", "--max-delete", "10%", "--json")
    assert (stopped.code, stopped.summary["deleted"]) == (3, 0)
    assert len(tree_of(tmp_path / "b")) == 601
