"""The model: from loaded documents to one plan a node, or to everything that is wrong with them. Pure.

Reading order: `topology` (what a fleet is), `shapes` (the table of shapes), `layers` (whose setting wins),
`build`, `checks`, `compile`.
"""

from orchestrator.model.compile import Compiled, check_all, compile_fleet

__all__ = ["Compiled", "check_all", "compile_fleet"]
