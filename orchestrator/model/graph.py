"""The one door to networkx: questions about the fleet's graph that need an algorithm.

Decides nothing; answers. The library is imported inside, since it costs 0.2 s that most commands don't need.
Only linear algorithms are let through: listing simple cycles took 70 GB at 1,000 nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

Vertex = str  # a replica or a node, as text: it hashes, sorts and prints


def loops(arcs: Iterable[tuple[Vertex, Vertex]]) -> list[list[Vertex]]:
    """The strongly connected components of more than one vertex: each holds a directed loop. Sorted."""
    arcs = list(arcs)
    # A loop leaves every vertex that it enters: most fleets are told apart from loops without the library.
    enterable = {target for _, target in arcs}
    within = [(source, target) for source, target in arcs if source in enterable]
    if not within:
        return []
    import networkx

    graph: networkx.DiGraph[Vertex] = networkx.DiGraph(within)
    return sorted(
        sorted(component) for component in networkx.strongly_connected_components(graph) if len(component) > 1
    )


def one_loop(arcs: Iterable[tuple[Vertex, Vertex]], within: Iterable[Vertex]) -> list[Vertex]:
    """One shortest directed loop through the least vertex of a strongly connected component."""
    import networkx

    kept = set(within)
    graph: networkx.DiGraph[Vertex] = networkx.DiGraph(
        (source, target) for source, target in sorted(arcs) if source in kept and target in kept
    )
    start = min(kept)
    back = min(
        (networkx.shortest_path(graph, after, start) for after in sorted(graph.successors(start))), key=len
    )
    return [start, *back]
