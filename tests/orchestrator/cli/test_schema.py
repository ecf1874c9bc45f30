"""`syncgraph schema`: each schema is printed as it is shipped."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from orchestrator.cli import syncgraph
from orchestrator.cli.schema import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_json(name: str) -> None:
    result = CliRunner().invoke(syncgraph, ["schema", name])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"].startswith("syncgraph ")


def test_another_name_is_a_usage_error() -> None:
    result = CliRunner().invoke(syncgraph, ["schema", "topologie"])
    assert result.exit_code == 2
    assert "topology" in result.output
