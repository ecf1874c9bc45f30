"""How plans and fleets look: text, Mermaid, DOT and SVG. Gives texts; writes nothing anywhere."""

from orchestrator.render.dot import dot
from orchestrator.render.mermaid import mermaid
from orchestrator.render.svg import svg
from orchestrator.render.text import plan_text

__all__ = ["dot", "mermaid", "plan_text", "svg"]
