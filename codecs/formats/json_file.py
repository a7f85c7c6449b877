"""JSON: problem events and what other tools write. One document, a list of them, or one a line (JSON lines).

A document is one of
- a problem event of this project (it has `family` and `problem`);
- a binary quadratic model of dimod (`bqm.to_serializable()`, schema 3): ising or qubo, minimised;
- a networkx graph (`node_link_data`): maxcut, `weight` of an edge, 1 where missing;
- a qubit Hamiltonian as a list of Pauli strings (`pauli`): molecule;
- an Ising model as {"(i, j)": J, "(i,)": h, "()": constant}, numbers or strings of numbers, minimised
  (Kipu Quantum's benchmark instances).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.events.wire import MAX_DEPTH, too_deep
from qmosaic.codecs.formats import pauli
from qmosaic.codecs.formats.base import (
    MAX_VARIABLES,
    FileProblem,
    Format,
    exact,
    fault,
    number,
    numbers,
    stem,
    triples,
    value_of,
)

MOST_NESTED = 16
"""Levels of lists in a node's id at most."""

Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_VARIABLES)]
_MONOMIAL = re.compile(r"\((?:(\d{1,9})(?:,(?:(\d{1,9}),?)?)?)?\)", re.ASCII)
_SHAPES = (
    "A document is a problem event {'family': …, 'problem': …}, a dimod BQM (to_serializable), "
    "a networkx graph (node_link_data), a qubit Hamiltonian {'n_qubits': 2, 'terms': [['XX', 0.5], …]}, "
    "or an Ising model {'(0, 1)': 0.5, …}."
)


class _Bqm(msgspec.Struct, frozen=True):
    version: dict[str, str]
    variable_type: Literal["SPIN", "BINARY"]
    num_variables: Annotated[int, msgspec.Meta(ge=1, le=MAX_VARIABLES)]
    num_interactions: Index
    offset: int | float
    linear_biases: list[int | float]
    quadratic_biases: list[int | float]
    quadratic_head: list[Index]
    quadratic_tail: list[Index]


class _Node(msgspec.Struct, frozen=True):
    id: Any


class _Link(msgspec.Struct, frozen=True):
    source: Any
    target: Any
    weight: int | float = 1


class _Graph(msgspec.Struct, frozen=True):
    nodes: Annotated[list[_Node], msgspec.Meta(min_length=1, max_length=MAX_VARIABLES)]
    links: list[_Link] = []
    edges: list[_Link] = []  # what networkx 3.4 and later call the links
    directed: bool = False


class _DocumentError(Exception):
    """What is wrong in a document; `read` adds the place."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


Read = tuple[str, dict[str, Any], Sense | None]  # family, problem, sense


def read(text: bytes, name: str) -> list[FileProblem]:
    """A problem for each document; an event with an id is named after it."""
    documents = list(_documents(text, name))
    if not documents:
        raise fault(name, 1, "expected at least one problem, got an empty list", _SHAPES)
    problems = []
    for index, (line, path, document) in enumerate(documents):
        label = stem(name) if len(documents) == 1 else f"{stem(name)}-{index + 1}"
        try:
            problems.append(_problem(document, label, index))
        except _DocumentError as error:
            raise fault(name, line, f"{path}{error.message}", error.remedy) from None
        except msgspec.ValidationError as error:
            raise fault(name, line, f"{path}{error}", _SHAPES) from None
    return problems


def _documents(text: bytes, name: str) -> Iterator[tuple[int, str, Any]]:
    """Every document with its line and a prefix for messages that tells which of a list it is."""
    try:
        whole = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        lines = [(line, part) for line, part in enumerate(text.split(b"\n"), 1) if part.strip()]
        if not _is_object(lines[0][1]) or len(lines) == 1:
            raise _not_json(name, error.lineno, error) from None
        for line, part in lines:
            try:
                document = orjson.loads(part)
            except orjson.JSONDecodeError as error:
                raise _not_json(name, line, error) from None
            yield line, "", _flat(document, part, name, line)
        return
    _flat(whole, text, name, 1)
    if isinstance(whole, list):
        yield from ((1, f"problem {k} of the list: ", document) for k, document in enumerate(whole, 1))
    else:
        yield 1, "", whole


def _flat(document: Any, text: bytes, name: str, line: int) -> Any:
    """The document, unless no event could hold what is in it."""
    if too_deep(text, document) is not None:
        message = f"expected at most {MAX_DEPTH} levels of lists and objects in each other, got more"
        raise fault(name, line, message, "Write it flatter.")
    return document


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _not_json(name: str, line: int, error: orjson.JSONDecodeError) -> FormatError:
    return fault(
        name, line, f"expected JSON, got {error.msg} (column {error.colno})", "NaN and Infinity are not JSON either."
    )


def _problem(document: Any, label: str, index: int) -> FileProblem:
    if not isinstance(document, dict):
        raise _DocumentError(f"expected a JSON object, got {type(document).__name__}", _SHAPES)
    if "family" in document or "problem" in document:
        event = msgspec.convert(document, Problem)
        return FileProblem(event.family, event.problem, event.sense, event.id or label, index, document)
    if document.get("type") == "BinaryQuadraticModel":
        family, problem, sense = _bqm(msgspec.convert(document, _Bqm))
    elif pauli.is_one(document):
        family, problem, sense = "molecule", pauli.payload(document), "min"
    elif "nodes" in document:
        family, problem, sense = _graph(msgspec.convert(document, _Graph))
    elif document and all(key.startswith("(") for key in document):
        family, problem, sense = _polynomial(document)
    else:
        keys = ", ".join(key[:60] for key in list(document)[:10])[:60]
        raise _DocumentError(f"expected a known kind of problem, got an object with the keys [{keys}]", _SHAPES)
    return FileProblem(family, problem, sense, label, index)


def _bqm(model: _Bqm) -> Read:
    """Variable i is the one at position i of `variable_labels`."""
    n, m = model.num_variables, model.num_interactions
    schema = model.version.get("bqm_schema", "none")
    if not schema.startswith("3."):
        raise _DocumentError(f"expected bqm_schema 3, got {schema}", "Load it with dimod and write it again.")
    for field, stated, found in (
        ("linear_biases", n, model.linear_biases),
        ("quadratic_biases", m, model.quadratic_biases),
        ("quadratic_head", m, model.quadratic_head),
        ("quadratic_tail", m, model.quadratic_tail),
    ):
        if len(found) != stated:
            raise _DocumentError(f"expected {stated} {field}, got {len(found)}", "Correct the list or the number.")
    head, tail = np.array(model.quadratic_head, dtype=np.int64), np.array(model.quadratic_tail, dtype=np.int64)
    bad = np.flatnonzero((head >= n) | (tail >= n) | (head == tail))
    if len(bad):
        k = int(bad[0])
        raise _DocumentError(
            f"expected two different indices below {n}, got {head[k]} and {tail[k]} in interaction {k}",
            "quadratic_head and quadratic_tail are positions in variable_labels, from 0.",
        )
    linear, quadratic = _exact(model.linear_biases), _exact(model.quadratic_biases)
    offset = number(model.offset)
    if model.variable_type == "SPIN":
        couplings = triples(head, tail, numbers(quadratic))
        return "ising", {"variables": n, "h": numbers(linear), "J": couplings, "offset": offset}, "min"
    used = np.flatnonzero(linear)
    weights = numbers(np.append(linear[used], quadratic))
    terms = triples(np.append(used, head), np.append(used, tail), weights)
    return "qubo", {"variables": n, "terms": terms, "offset": offset}, "min"


def _graph(graph: _Graph) -> Read:
    """Node i is the one at position i of `nodes`."""
    if graph.directed:
        raise _DocumentError("expected an undirected graph, got directed: true", "Use graph.to_undirected().")
    position = {_hashable(node.id): i for i, node in enumerate(graph.nodes)}
    if len(position) < len(graph.nodes):
        raise _DocumentError("expected different ids for all nodes, got one twice", "Give every node its own id.")
    links = graph.links or graph.edges
    ends = [(position.get(_hashable(e.source)), position.get(_hashable(e.target))) for e in links]
    for k, (i, j) in enumerate(ends):
        if i is None or j is None:
            raise _DocumentError(
                f"expected the ids of two nodes, got another in link {k}", "Add the node, or correct it."
            )
        if i == j:
            raise _DocumentError(f"expected two different nodes, got a loop in link {k}", "Remove it: it is never cut.")
    weights = numbers(_exact([link.weight for link in links]))
    edges = [[i, j, w] for (i, j), w in zip(ends, weights, strict=True)]
    return "maxcut", {"nodes": len(graph.nodes), "edges": edges}, "max"


def _exact(values: list[int | float]) -> Any:
    try:
        return exact(values)
    except OverflowError as error:
        raise _DocumentError(f"expected other numbers, got {error}", "Scale them, or write it as 1.2e20.") from None


def _hashable(node: Any, depth: int = 0) -> Any:
    """A node's id as a dict key: JSON has made a list of what was a tuple."""
    if isinstance(node, list) and depth < MOST_NESTED:
        return tuple(_hashable(part, depth + 1) for part in node)
    if isinstance(node, list):
        raise _DocumentError(f"expected a node's id of at most {MOST_NESTED} levels", "Relabel the nodes.")
    if isinstance(node, dict):
        raise _DocumentError("expected a string, number or list as a node's id, got an object", "Relabel the nodes.")
    return node


def _polynomial(document: dict[str, Any]) -> Read:
    linear: dict[int, int | float] = {}
    couplings: list[tuple[int, int, int | float]] = []
    offset: int | float = 0
    for key, value in document.items():
        match = _MONOMIAL.fullmatch(key.replace(" ", ""))
        indices = [int(part) for part in match.groups() if part is not None] if match else []
        if not match or len(set(indices)) < len(indices) or max(indices, default=0) >= MAX_VARIABLES:
            raise _DocumentError(
                f"expected a key '(i, j)', '(i,)' or '()', different indices below {MAX_VARIABLES}, got '{key[:60]}'",
                "Terms of three and more variables have to be made quadratic first.",
            )
        coefficient = _coefficient(key, value)
        if len(indices) == 2:
            couplings.append((indices[0], indices[1], coefficient))
        elif indices:
            linear[indices[0]] = linear.get(indices[0], 0) + coefficient
        else:
            offset += coefficient
    n = 1 + max([*linear, *(max(i, j) for i, j, _ in couplings)], default=-1)
    if n == 0:
        raise _DocumentError("expected at least one variable, got a constant", "Add the terms.")
    fields = _exact(list(linear.values()))
    h = np.zeros(n, dtype=fields.dtype)
    h[list(linear)] = fields
    weights = numbers(_exact([J for _, _, J in couplings]))
    terms = [[i, j, J] for (i, j, _), J in zip(couplings, weights, strict=True)]
    return "ising", {"variables": n, "h": numbers(h), "J": terms, "offset": number(offset)}, "min"


def _coefficient(key: str, value: Any) -> int | float:
    """A number, or one that is written in a string."""
    try:
        if isinstance(value, str):
            value = value_of(value.strip())
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    got = repr(value[:60] if isinstance(value, str) else value) if isinstance(value, (str, float)) else str(type(value))
    raise _DocumentError(f"expected a finite number for '{key[:60]}', got {got}", "Correct this number.")


FORMAT = Format(
    name="json",
    title="JSON: problem events, dimod BQM, networkx graph, Pauli list, Ising terms",
    families=("maxcut", "qubo", "ising", "molecule"),
    suffixes=(".json", ".jsonl", ".ndjson"),
    opening=re.compile(rb"\s*+[\[{]"),
    read=read,
)
