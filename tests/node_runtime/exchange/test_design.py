"""The drawing in DESIGN.md is the table in the code."""

from pathlib import Path

from node_runtime import exchange
from node_runtime.exchange.conversation import diagram


def test_the_drawing_is_made_from_the_table() -> None:
    design = Path(exchange.__file__).with_name("DESIGN.md").read_text()
    assert f"```mermaid\n{diagram()}\n```" in design
