"""Routes: distances, kernels whose energy is the length, and a judge that lets no changed answer through."""

from __future__ import annotations

from itertools import pairwise, permutations
from math import acos, cos, sqrt
from time import monotonic
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.formats.registry import read
from qmosaic.codecs.models.arrays import pack_bits
from qmosaic.codecs.models.bundle import Bundle, bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Refusal
from qmosaic.processors.families.base import Limits, Reduction, Task
from qmosaic.processors.families.registry import FAMILIES
from qmosaic.processors.families.routing.family import RouteInstance
from qmosaic.processors.families.routing.kernel import kernel_of
from qmosaic.processors.families.routing.tours import Ask, Distances, constructed, length, routes
from tests.instances import INSTANCES
from tests.processors.problems import refused

FAST = settings(deadline=None, max_examples=60)
SLOW = settings(deadline=None, max_examples=25)

SQUARE: dict[str, Any] = {"nodes": ["d", "a", "b", "c"], "coordinates": [[0, 0], [0, 3], [4, 3], [4, 0]]}
FLEET: dict[str, Any] = {**SQUARE, "demands": [0, 2, 2, 1], "capacity": 3, "vehicles": 2}


def instance_of(payload: dict[str, Any]) -> RouteInstance:
    instance = FAMILIES["route"].parse(Problem(family="route", problem=payload), Limits())
    assert isinstance(instance, RouteInstance), instance
    return instance


def answer(bits: Any) -> Answer:
    return Answer(bits=pack_bits(np.asarray(bits, np.uint8)), energy=0.0, confidence=1.0, circuit=None)


def every(n: int) -> Any:
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.uint8)


@st.composite
def payloads(draw: st.DrawFn, least: int = 2, most: int = 9) -> dict[str, Any]:
    """Tours and routes, by points or by matrix, in one direction or both, often with tight vehicles."""
    n = draw(st.integers(least, most))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    payload: dict[str, Any] = {}
    form = draw(st.sampled_from(["euclidean", "euc_2d", "ceil_2d", "geo", "att", "matrix", "directed"]))
    if form in ("matrix", "directed"):
        matrix = rng.integers(0, 50, (n, n))
        payload["matrix"] = (matrix if form == "directed" else matrix + matrix.T).tolist()
        payload["directed"] = form == "directed"
    else:
        payload |= {"coordinates": rng.integers(-80, 80, (n, 2)).tolist(), "metric": form}
    if draw(st.booleans()):
        demands = [0, *rng.integers(0, 9, n - 1).tolist()]
        capacity = draw(st.integers(max(9, sum(demands) // 3), 22))
        payload |= {"demands": demands, "capacity": capacity}
    if draw(st.booleans()):
        payload["nodes"] = [f"n{k}" for k in range(n)]
        payload["depot"] = "n0"
    return payload


# --- distances


def reference(metric: str, a: Any, b: Any) -> float:
    """TSPLIB 95, section 2, as it is written there, for two different points."""

    def nint(x: float) -> int:
        return int(x + 0.5)

    xd, yd = a[0] - b[0], a[1] - b[1]
    if metric == "euc_2d":
        return nint(sqrt(xd * xd + yd * yd))
    if metric == "ceil_2d":
        return float(np.ceil(sqrt(xd * xd + yd * yd)))
    if metric == "att":
        rij = sqrt((xd * xd + yd * yd) / 10.0)
        tij = nint(rij)
        return tij + 1 if tij < rij else tij
    if metric == "geo":
        pi = 3.141592
        (lat_a, lon_a), (lat_b, lon_b) = [
            [pi * (int(x) + 5.0 * (x - int(x)) / 3.0) / 180.0 for x in point] for point in (a, b)
        ]
        q1, q2, q3 = cos(lon_a - lon_b), cos(lat_a - lat_b), cos(lat_a + lat_b)
        return int(6378.388 * acos(0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3)) + 1.0)
    return sqrt(xd * xd + yd * yd)


@FAST
@given(
    st.sampled_from(["euclidean", "euc_2d", "ceil_2d", "att", "geo"]),
    st.lists(st.tuples(st.integers(-8999, 8999), st.integers(-17999, 17999)), min_size=2, max_size=2, unique=True),
)
def test_distances_are_tsplibs(metric: Any, points: list[tuple[int, int]]) -> None:
    a, b = ((x / 100, y / 100) for x, y in points)
    assume(metric != "geo" or max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 0.1)  # where acos is steep, ulps are steps
    found = Distances(np.array([a, b]), metric)
    assert found.matrix[0, 1] == found.matrix[1, 0] == pytest.approx(reference(metric, a, b), abs=1e-9)
    assert found.matrix[0, 0] == found.between(1, 1) == 0


def test_geo_truncates_degrees() -> None:
    # 16.47 is 16 degrees 47 minutes, not 17 degrees less 53 minutes
    found = Distances(np.array([[16.47, 96.10], [16.47, 94.44], [36.08, -5.21], [41.23, 9.10]]), "geo")
    assert found.matrix[0, 1] == 153
    assert found.matrix[2, 3] == reference("geo", (36.08, -5.21), (41.23, 9.10))


# --- the kernel


def checked(instance: RouteInstance, order: list[int], most: int) -> tuple[SpinPolynomial, list[bool]]:
    """A kernel around the order, and which of its states are feasible, after looking at all of them."""
    kernel, lift = kernel_of(Ask.of(instance.encode()), np.array(order), most)
    assert 1 <= kernel.n <= most
    state = bundle({"order": np.array(order)})
    energies = kernel.energy(every(kernel.n))
    judged = [instance.evaluate(instance.answered(state, lift, answer(row))) for row in every(kernel.n)]
    feasible = [found.feasible for found in judged]
    assert feasible[0]
    assert energies[0] == pytest.approx(instance.evaluate(instance.solution(state)).objective)
    best = energies[feasible].min()
    for energy, found in zip(energies, judged, strict=True):
        assert found.objective is not None
        if found.feasible:
            assert energy == pytest.approx(found.objective, abs=1e-6)
        else:
            assert energy > best
    return kernel, feasible


@SLOW
@given(payloads(least=4), st.integers(1, 8), st.integers(0, 10**6))
def test_energy_is_the_length(payload: dict[str, Any], most: int, seed: int) -> None:
    instance = instance_of(payload)
    order = constructed(instance.distances, instance.directed, instance.start, instance.fleet)
    assume(order is not None)
    if instance.fleet is None:  # any order will do, not just a good one
        order = np.random.default_rng(seed).permutation(len(instance.names)).tolist()
    assert order is not None
    checked(instance, order, most)


@pytest.mark.parametrize("seed", [0, 3, 4, 8, 17, 18])
def test_what_overfills_a_vehicle_is_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    demands = [0, *rng.integers(1, 9, 14).tolist()]
    payload = {"coordinates": rng.integers(0, 100, (15, 2)).tolist(), "metric": "euc_2d", "demands": demands}
    instance = instance_of({**payload, "capacity": int(np.ceil(sum(demands) / 3) + 1), "vehicles": 3})
    order = constructed(instance.distances, instance.directed, instance.start, instance.fleet)
    assert order is not None
    kernel, feasible = checked(instance, order, 8)
    # where states overfill a vehicle, terms of as many moves as change its load tell so
    assert all(feasible) == (seed == 3)
    assert (kernel.order > 2) == (seed != 3)


@pytest.mark.parametrize("bits", [[1], [0, 0, 0, 0, 0]])
def test_an_answer_of_another_size_does_not_fit(bits: list[int]) -> None:
    instance = instance_of({"coordinates": [[0, 0], [1, 0], [2, 1], [1, 2], [0, 2], [-1, 1]]})
    _, lift = kernel_of(Ask.of(instance.encode()), np.arange(6), 3)
    with pytest.raises(ValueError, match="bits"):
        instance.answered(bundle({"order": np.arange(6)}), lift, answer(bits))
    with pytest.raises(LookupError):
        instance.answered(bundle({"order": np.arange(6)}), Bundle(), answer(bits))
    with pytest.raises(LookupError):
        instance.solution(Bundle())


# --- in and out


@FAST
@given(payloads(), st.randoms(use_true_random=False))
def test_the_order_of_the_data_leaves_no_trace(payload: dict[str, Any], random: Any) -> None:
    n = len(payload.get("coordinates") or payload["matrix"])
    payload = {**payload, "nodes": payload.get("nodes", list(range(n)))}
    shuffled = random.sample(range(n), n)
    other = {**payload, "depot": payload["nodes"][0]} if "demands" in payload else dict(payload)
    payload = dict(other)
    for key in ("coordinates", "demands", "nodes"):
        if key in payload:
            other[key] = [payload[key][k] for k in shuffled]
    if "matrix" in payload:
        other["matrix"] = [[payload["matrix"][i][j] for j in shuffled] for i in shuffled]
    one, two = instance_of(payload), instance_of(other)
    assert one.digest == two.digest
    assert one.quick() == two.quick()
    assert one.evaluate(one.quick()) == two.evaluate(two.quick()) if one.quick() is not None else True


@FAST
@given(payloads())
def test_quick_is_an_answer_and_json(payload: dict[str, Any]) -> None:
    instance = instance_of(payload)
    solution = instance.quick()
    if solution is None:
        assert instance.fleet is not None
        return
    assert orjson.loads(orjson.dumps(solution)) == solution
    judged = instance.evaluate(solution)
    assert (judged.feasible, judged.violations) == (True, ())


@FAST
@given(payloads(), st.data())
def test_a_state_is_told_in_one_way_and_means_the_same(payload: dict[str, Any], data: st.DataObject) -> None:
    instance = instance_of(payload)
    order = constructed(instance.distances, instance.directed, instance.start, instance.fleet)
    assume(order is not None)
    assert order is not None
    turned = data.draw(st.integers(0, len(order) - 1))
    again = [*order[turned:], *order[:turned]]
    if not instance.directed and data.draw(st.booleans()):
        again.reverse()
    told = instance.solution(bundle({"order": np.array(order)}))
    assert told == instance.solution(bundle({"order": np.array(again)}))
    assert instance.evaluate(told).objective == pytest.approx(length(instance.distances, order))


def test_the_judge_knows_the_length() -> None:
    found = instance_of(SQUARE).evaluate({"tour": ["d", "a", "b", "c"]})
    assert (found.objective, found.feasible) == (14, True)
    found = instance_of(FLEET).evaluate({"routes": [["a"], ["b", "c"]]})
    assert (found.objective, found.feasible) == (6 + 12, True)
    assert found.details == {"vehicles": 2, "loads": [2, 3]}


@pytest.mark.parametrize(
    ("solution", "violation"),
    [
        ({"tour": ["d", "a", "b"]}, "'c' is not visited"),
        ({"tour": ["d", "a", "b", "b"]}, "'b' is not to be visited, or is visited twice"),
        ({"tour": ["d", "a", "b", "c", "d"]}, "'d' is not to be visited, or is visited twice"),
        ({"tour": ["d", "a", "b", "x"]}, "'x' is not to be visited"),
        ({"routes": [["a", "b", "c"]]}, "expected a solution with 'tour'"),
        ({"tour": ["d", "a", "b", "c"], "more": 1}, "expected a solution with 'tour'"),
        (["d", "a", "b", "c"], "expected a solution with 'tour'"),
        (None, "expected a solution with 'tour'"),
    ],
)
def test_a_changed_tour_is_refused(solution: Any, violation: str) -> None:
    found = instance_of(SQUARE).evaluate(solution)
    assert not found.feasible
    assert any(violation in sentence for sentence in found.violations)


@pytest.mark.parametrize(
    ("found", "violation"),
    [
        ([["a"], ["b"]], "'c' is not visited"),
        ([["a"], ["b", "c", "a"]], "'a' is not to be visited, or is visited twice"),
        ([["a"], ["b", "d", "c"]], "'d' is not to be visited"),
        ([["a", "b"], ["c"]], "route 1 carries 4, a vehicle holds 3"),
        ([["a"], ["b"], ["c"]], "3 routes, there are 2 vehicles"),
    ],
)
def test_changed_routes_are_refused(found: Any, violation: str) -> None:
    judged = instance_of(FLEET).evaluate({"routes": found})
    assert not judged.feasible
    assert any(violation in sentence for sentence in judged.violations)


BAD: list[tuple[dict[str, Any], str, str, str]] = [
    ({"x": 1}, "invalid_problem", ".x", "unknown field"),
    ({"sense": "min", **SQUARE}, "invalid_problem", ".sense", "unknown field"),
    ({}, "invalid_problem", "", "coordinates or a matrix"),
    ({**SQUARE, "matrix": [[0]]}, "invalid_problem", "", "coordinates or a matrix"),
    ({"coordinates": []}, "empty_problem", ".coordinates", "no node"),
    ({"coordinates": [[0, 0], [1]]}, "invalid_problem", ".coordinates[1]", "length"),
    ({"coordinates": [[0, "a"]]}, "invalid_problem", ".coordinates[0][1]", "float"),
    ({"coordinates": [[0, 1e13]]}, "invalid_problem", ".coordinates[0][1]", "beyond"),
    ({"coordinates": [[0, 0], [91, 0]], "metric": "geo"}, "invalid_problem", ".coordinates[1][0]", "beyond ±90"),
    ({"coordinates": [[0, 0]], "metric": "euc_4d"}, "invalid_problem", ".metric", "euc_4d"),
    ({"coordinates": [[0, 0]], "directed": True}, "invalid_problem", ".directed", "same both ways"),
    ({"coordinates": [[0, 0]] * 51}, "too_large", ".coordinates", "51 nodes"),
    ({"coordinates": [[0, 0]] * 12}, "too_large", ".coordinates", "66 distances"),
    ({"matrix": [[0, 1], [1]]}, "invalid_problem", ".matrix[1]", "expected 2 values"),
    ({"matrix": [[0, 1], [2, 0]]}, "invalid_problem", ".matrix[0][1]", "1 from 0 to 1, 2 back"),
    ({"matrix": [[0, -1], [-1, 0]]}, "invalid_problem", ".matrix[0][1]", "no distance"),
    ({"matrix": [[0, 1e300], [1e300, 0]]}, "invalid_problem", ".matrix", "add up"),
    ({"matrix": [[0]], "metric": "geo"}, "invalid_problem", ".metric", "no metric"),
    ({**SQUARE, "nodes": ["a"]}, "invalid_problem", ".nodes", "4 names"),
    ({**SQUARE, "nodes": ["a", "b", "a", "c"]}, "invalid_problem", ".nodes[2]", "twice"),
    ({**SQUARE, "depot": "x"}, "invalid_problem", ".depot", "not a node"),
    ({**SQUARE, "demands": [0, 1, 1, 1]}, "invalid_problem", ".demands", "without capacity"),
    ({**SQUARE, "capacity": 1}, "invalid_problem", ".capacity", "without demands"),
    ({**SQUARE, "vehicles": 1}, "invalid_problem", ".vehicles", "without demands"),
    ({**FLEET, "capacity": 0}, "invalid_problem", ".capacity", "positive"),
    ({**FLEET, "vehicles": 0}, "invalid_problem", ".vehicles", "at least 1"),
    ({**FLEET, "vehicles": 1}, "invalid_problem", ".vehicles", "demands are 5, 1 vehicles hold 3"),
    ({**FLEET, "demands": [0, 2, 2]}, "invalid_problem", ".demands", "4 values"),
    ({**FLEET, "demands": [0, 2, 2, 4]}, "invalid_problem", ".demands[3]", "'c' demands 4, a vehicle holds 3"),
    ({**FLEET, "demands": [0, 2, 2, -1]}, "invalid_problem", ".demands[3]", "no demand"),
    ({**FLEET, "demands": [1, 2, 2, 1]}, "invalid_problem", ".demands[0]", "the depot 'd'"),
    ({"coordinates": [[0, 0]], "demands": [0], "capacity": 1}, "empty_problem", "", "no customer"),
]


@pytest.mark.parametrize(("payload", "code", "place", "message"), BAD)
def test_what_is_wrong_is_named_with_its_place(payload: dict[str, Any], code: str, place: str, message: str) -> None:
    refusal: Refusal = refused("route", payload)
    assert (refusal.rejected.code, refusal.rejected.place) == (code, f"$.problem{place}")
    assert message in refusal.rejected.message
    assert refusal.rejected.remedy


def test_routes_are_not_maximised() -> None:
    assert refused("route", SQUARE, sense="max").rejected.place == "$.sense"


def test_routes_that_a_split_cannot_make_are_packed() -> None:
    # 3 + 3, 2 + 2 + 2 fit; a tour that alternates them cannot be cut into two
    places = Distances(np.array([[0.0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0]]), "euclidean")
    demands = np.array([0.0, 3, 2, 2, 3, 2])
    found = routes(places.matrix, demands, 6, 2, 0, directed=False)
    assert found is not None
    assert sorted(sorted(route) for route in found) == [[1, 4], [2, 3, 5]]
    assert routes(places.matrix, demands, 5, 2, 0, directed=False) is None


# --- reduce


def reduced(instance: RouteInstance, seed: int = 1, most: int = 8) -> Reduction:
    (one,) = FAMILIES["route"].reduce(
        [Task(model=instance.encode(), seed=seed, seconds=5.0, max_qubits=most, clock=monotonic)]
    )
    return one


def shortest(instance: RouteInstance) -> float:
    """Of all tours, or of all ways to cut all orders of the customers into routes."""
    d, fleet = instance.distances.matrix, instance.fleet
    others = [k for k in range(len(instance.names)) if k != instance.start]
    best = np.inf
    for order in permutations(others):
        cuts = range(2 ** (len(order) - 1)) if fleet is not None else [0]
        for cut in cuts:
            trips, trip = [], [order[0]]
            for k, node in enumerate(order[1:]):
                if cut >> k & 1:
                    trips.append(trip)
                    trip = []
                trip.append(node)
            trips.append(trip)
            if fleet is not None and (
                len(trips) > fleet.vehicles
                or max(sum(fleet.demands[t] for t in trip) for trip in trips) > fleet.capacity
            ):
                continue
            closed = [[instance.start, *trip, instance.start] for trip in trips]
            best = min(best, sum(d[a, b] for trip in closed for a, b in pairwise(trip)))
    return float(best)


@pytest.mark.parametrize(
    "payload",
    [
        {"coordinates": np.random.default_rng(1).integers(0, 99, (7, 2)).tolist(), "metric": "euc_2d"},
        {"coordinates": np.random.default_rng(2).random((7, 2)).tolist()},
        {"matrix": np.random.default_rng(3).integers(1, 99, (7, 7)).tolist(), "directed": True},
        {"coordinates": np.random.default_rng(4).integers(0, 99, (6, 2)).tolist(), "demands": [0, 3, 2, 2, 3, 2],
         "capacity": 6, "vehicles": 2},
        {"coordinates": np.random.default_rng(5).integers(0, 99, (6, 2)).tolist(), "capacity": 0.6,
         "demands": [0, 0.3, 0.2, 0.2, 0.3, 0.2]},
        {"coordinates": [[0, 0], [1, 1], [2, 2]], "demands": [0, 1, 1], "capacity": 1},
    ],
)  # fmt: skip
def test_small_ones_are_solved_to_the_best(payload: dict[str, Any]) -> None:
    instance = instance_of(payload)
    one = reduced(instance)
    found = instance.evaluate(instance.solution(one.state))
    assert found.feasible
    assert found.objective == pytest.approx(shortest(instance), abs=1e-9)
    assert isinstance(one.kernel, SpinPolynomial)
    assert one.solver == "pyvrp"
    assert len(one.gammas) == len(one.betas) == 2
    lowest = every(one.kernel.n)[one.kernel.energy(every(one.kernel.n)).argmin()]
    lifted = instance.evaluate(instance.answered(one.state, one.lift, answer(lowest)))
    assert lifted.feasible
    assert lifted.objective == pytest.approx(found.objective)


@pytest.mark.parametrize(
    ("payload", "solution"),
    [
        ({"coordinates": [[3, 4]]}, {"tour": [0]}),
        ({"coordinates": [[0, 0], [3, 4]]}, {"tour": [0, 1]}),
        ({"coordinates": [[0, 0], [3, 4], [3, 0]]}, {"tour": [0, 1, 2]}),
        ({"coordinates": [[0, 0], [3, 4]], "demands": [0, 1], "capacity": 1}, {"routes": [[1]]}),
    ],
)
def test_where_there_is_one_answer_there_is_no_kernel(payload: dict[str, Any], solution: Any) -> None:
    instance = instance_of(payload)
    one = reduced(instance)
    assert one.kernel is None
    assert instance.solution(one.state) == solution


def test_the_same_seed_is_the_same_search() -> None:
    instance = instance_of({"coordinates": np.random.default_rng(7).integers(0, 99, (11, 2)).tolist()})
    one, two = reduced(instance), reduced(instance)
    assert instance.solution(one.state) == instance.solution(two.state)
    assert one.kernel is not None
    assert two.kernel is not None
    assert one.kernel.digest == two.kernel.digest


def test_what_fits_no_fleet_ends_without_an_answer() -> None:
    # five times 2 in two vehicles of 5: by weight enough, but no vehicle takes three
    payload = {"coordinates": [[k, 0] for k in range(6)], "demands": [0, 2, 2, 2, 2, 2], "capacity": 5, "vehicles": 2}
    instance = instance_of(payload)
    assert instance.quick() is None
    one = reduced(instance)
    assert not instance.evaluate(instance.solution(one.state)).feasible


MANIFEST = INSTANCES / "manifest.json"
ENTRIES = orjson.loads(MANIFEST.read_bytes())["entries"] if MANIFEST.exists() else []
HERE = {e["file"]: e for e in ENTRIES if e["file"].startswith("tsp/")}


@pytest.mark.skipif(not HERE, reason="the public instances are not here")
@pytest.mark.parametrize("file", HERE)
def test_public_instances_have_their_best_known_length(file: str) -> None:
    entry = HERE[file]
    (problem,) = read((INSTANCES / file).read_bytes(), file)
    parsed = instance_of(problem.problem)
    if entry.get("solution_file", "") and entry["solution_file"].endswith(".tour"):
        text = (INSTANCES / entry["solution_file"]).read_text()
        visits = [int(token) for token in text.partition("TOUR_SECTION")[2].partition("-1")[0].split()]
        assert parsed.evaluate({"tour": visits}).objective == entry["best_known"]
    elif entry.get("solution_file"):
        lines = (INSTANCES / entry["solution_file"]).read_text().splitlines()
        found = [[int(c) + 1 for c in line.partition(":")[2].split()] for line in lines if line.startswith("Route")]
        assert parsed.evaluate({"routes": found}).objective == entry["best_known"]
    one = reduced(parsed)
    assert parsed.evaluate(parsed.solution(one.state)).objective == entry["best_known"]
