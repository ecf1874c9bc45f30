"""Which directory holds the authority of which repository."""

from pathlib import Path

from orchestrator.trust.place import public_key_at, state_directory


def test_what_is_given_wins_over_the_environment_and_that_over_the_repository(tmp_path: Path) -> None:
    environ = {"SYNCGRAPH_STATE": "/srv/state"}
    assert state_directory(tmp_path, [tmp_path / "repo"], environ) == tmp_path
    assert state_directory(None, [tmp_path], environ) == Path("/srv/state")


def test_a_file_or_a_directory_below_finds_the_repository_around_it(tmp_path: Path) -> None:
    below = tmp_path / "topologies" / "eu"
    below.mkdir(parents=True)
    (below / "offices.yaml").touch()
    assert state_directory(None, [below / "offices.yaml"], {}) == below / ".syncgraph"
    (tmp_path / ".git").mkdir()
    assert state_directory(None, [below / "offices.yaml"], {}) == tmp_path / ".syncgraph"
    (tmp_path / "topologies" / ".syncgraph").mkdir()
    assert state_directory(None, [below], {}) == tmp_path / ".syncgraph"
    (tmp_path / "topologies" / ".syncgraph" / "authority").touch()
    assert state_directory(None, [below], {}) == tmp_path / "topologies" / ".syncgraph"


def test_no_public_half_is_an_empty_key(tmp_path: Path) -> None:
    assert public_key_at(tmp_path / "authority") == ""
    (tmp_path / "authority.pub").write_text("ssh-ed25519 AAAA fleet of Ada\n")
    assert public_key_at(tmp_path / "authority") == "ssh-ed25519 AAAA"
