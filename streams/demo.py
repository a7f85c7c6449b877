"""The bundled examples: small real problems, from networkx and from the literature."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import networkx

from qmosaic.codecs import events


def demo_problems() -> list[dict[str, Any]]:
    """Events: Zachary's karate club (maximum cut 61), the Petersen graph (12), and others."""
    nx: Any = networkx  # its stubs are stricter than its functions
    karate = nx.karate_club_graph()
    petersen = nx.petersen_graph()
    florentine = nx.florentine_families_graph()
    frustrated = nx.triangular_lattice_graph(4, 4)
    cube = nx.convert_node_labels_to_integers(nx.dodecahedral_graph())
    lattice = nx.convert_node_labels_to_integers(frustrated)
    # Choose far-apart members of the club: a maximum independent set as a QUBO, 20 of 34.
    independent = [[n, n, -1] for n in karate] + [[a, b, 2] for a, b in karate.edges]
    problems: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("karate club", "maxcut", {"nodes": 34, "edges": [list(edge) for edge in karate.edges]}, {}),
        ("Petersen graph", "maxcut", {"edges": [list(edge) for edge in petersen.edges]}, {"target": "quantum"}),
        ("dodecahedron", "maxcut", {"edges": [list(edge) for edge in cube.edges]}, {"target": "gpu"}),
        ("Florentine families", "maxcut", {"edges": [list(edge) for edge in florentine.edges]}, {}),
        ("independent set", "qubo", {"variables": 34, "terms": independent}, {"target": "classical"}),
        ("frustrated magnet", "ising", {"J": [[a, b, 1] for a, b in lattice.edges]}, {"target": "quantum"}),
    ]
    return [
        {
            "schema": events.PROBLEM_SCHEMA,
            "id": uuid4().hex,
            "family": family,
            "problem": problem,
            "deadline": 20,
            "labels": {"name": name},
            **options,
        }
        for name, family, problem, options in problems
    ]
