"""Where to put nodes that have no place of their own: deterministic, in time that n² bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

DENSE = 400
"""Nodes up to which all eigenvectors are taken; beyond, the two that are needed."""
ROUNDS = 200
STARTS, QUICK = 6, 60
"""Starts that are tried, and the nodes up to which they are: there are many ways to lie badly."""

Places = Float64[np.ndarray, "n 2"]


def scaled(distances: Float64[np.ndarray, "n n"]) -> Places:
    """Classical multidimensional scaling (Torgerson, Psychometrika 17 (1952) 401) of symmetric distances."""
    n = len(distances)
    squared = distances**2
    inner = -(squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()) / 2
    if n <= DENSE:
        values, vectors = np.linalg.eigh(inner)
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(inner, k=2, which="LA", v0=np.linspace(1.0, 2.0, n))
    order = np.argsort(-values)[:2]
    found = vectors[:, order] * np.sqrt(np.clip(values[order], 0, None))
    found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    # an eigenvector may point either way: its largest part is positive
    signs = np.sign(found[np.abs(found).argmax(0), [0, 1]])
    return np.asarray(found * np.where(signs == 0, 1.0, signs))


def stress(distances: Float64[np.ndarray, "n n"], places: Places) -> float:
    """Kruskal's stress-1: how far the drawn distances are from the given ones, as a share of these."""
    drawn = _apart(places)
    whole = float((distances**2).sum())
    return float(np.sqrt(((drawn - distances) ** 2).sum() / whole)) if whole else 0.0


def graph(n: int, rows: Any, cols: Any) -> Places:
    """Nodes as far apart as there are edges between them, as far as a plane allows (Gansner, Koren and North, "Graph
    Drawing by Stress Majorization", 2004). Parts that are not joined stand beside each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    hops = shortest_path(coo_array((np.ones(len(rows)), (rows, cols)), (n, n)).tocsr(), directed=False, unweighted=True)
    reach = hops[np.isfinite(hops)].max(initial=1.0)
    hops = np.where(np.isfinite(hops), hops, reach + 1.5)
    weights = (hops + np.eye(n)) ** -2.0 - np.eye(n)
    inverse = np.linalg.pinv(np.diag(weights.sum(1)) - weights)
    start = scaled(hops)
    tries = [_settled(hops, weights, inverse, start, seed) for seed in range(STARTS if n <= QUICK else 1)]
    return _turned(min(tries, key=lambda places: float((weights * (_apart(places) - hops) ** 2).sum())))


def _settled(hops: Any, weights: Any, inverse: Any, start: Places, seed: int) -> Places:
    """The majorised stress is minimised again and again."""
    # nodes that look the same from everywhere would lie upon each other for ever
    places = start + np.random.default_rng(seed).normal(0.0, 0.1 if seed < STARTS // 2 else 0.6, start.shape)
    for _ in range(ROUNDS):
        ratio = weights * hops / np.maximum(_apart(places), 1e-9)
        places = inverse @ ((np.diag(ratio.sum(1)) - ratio) @ places)
    return places


def _turned(places: Places) -> Places:
    """With its longest side along the first axis."""
    centred = places - places.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    return np.asarray(centred @ (axes * np.sign(axes.sum(1, keepdims=True) + 1e-12)).T)


def _apart(places: Places) -> Float64[np.ndarray, "n n"]:
    return np.asarray(np.hypot(*(places[:, None, :] - places[None, :, :]).transpose(2, 0, 1)))
