"""A distribution with a family and a backend from outside, as `pip install` would leave it: for workers to load."""

from __future__ import annotations

from pathlib import Path

FAMILY = '''
import os, signal
from pathlib import Path
from dataclasses import dataclass, field
from qmosaic.processors.families.quadratic.maxcut import MaxCutFamily, MaxCutInstance


def act(problem, where):
    """Do what the problem says at this place, and write down that it was done."""
    said = problem.get(where)
    if said is None:
        return
    with open(problem["log"], "a") as file:
        file.write(f"{where} {os.getpid()}\\n")
    if said == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if said == "crash":
        os.abort()
    if said == "raise":
        raise RuntimeError("a bug of a plug-in")
    if said == "recurse":
        return act(problem, where) or act(problem, where)
    if said == "exit":
        raise SystemExit(3)
    if said == "grow":
        keep = bytearray(2 * 1024**3)


class Instance(MaxCutInstance):
    def encode(self):
        act(self.payload, "encode")
        return super().encode()

    def quick(self):
        act(self.payload, "quick")
        return MaxCutInstance(self.terms, self.sense, self.digest).quick()  # it encodes, too

    def evaluate(self, solution, evidence=None):
        act(self.payload, "evaluate")
        return super().evaluate(solution, evidence)


class Family(MaxCutFamily):
    name = "plugged"

    def light(self, problem):
        return True

    def parse(self, problem, limits):
        payload = problem.problem
        act(payload, "parse")
        inner = type(problem)(family="maxcut", problem={"edges": [[0, 1], [1, 2], [2, 0]]})
        found = super().parse(inner, limits)
        made = Instance(found.terms, found.sense, found.digest)
        object.__setattr__(made, "payload", payload)
        return made
'''

POOR = """
from dataclasses import dataclass, field
from qmosaic.processors.families.quadratic.maxcut import MaxCutFamily, MaxCutInstance


class Instance(MaxCutInstance):
    \"\"\"Its incumbent is poor: one node stands on the wrong side.\"\"\"

    def solution(self, state):
        found = super().solution(state)
        return [1 - found[0], *found[1:]]


class Poor(MaxCutFamily):
    name = "poor"

    def parse(self, problem, limits):
        found = super().parse(problem, limits)
        return Instance(found.terms, found.sense, found.digest) if isinstance(found, MaxCutInstance) else found
"""

BACKEND = """
import os, random, signal
import numpy as np
from dataclasses import replace
from qmosaic.backends.base import Result
from qmosaic.backends.solvers.tabu import Tabu
from qmosaic.codecs.errors import BackendError


class Here(Tabu):
    name = "deadly"
    capabilities = replace(Tabu.capabilities, batch=4)

    def run(self, batch):
        if any(job.seed == 666 for job, _ in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(batch)


class There(Here):
    name = "deadly.quantum"
    capabilities = replace(Here.capabilities, target="quantum")


class Best(Tabu):
    name = "best"
    capabilities = replace(Tabu.capabilities, target="quantum")


class Idle(Tabu):
    name = "idle"  # at odd seeds

    def run(self, batch):
        nothing = [Result.of_samples(job.kernel, np.zeros((1, job.kernel.n), np.uint8), 0.0) for job, _ in batch]
        found = super().run(batch)
        return [nothing[k] if job.seed % 2 else found[k] for k, (job, _) in enumerate(batch)]


class Failing(Tabu):
    name = "failing"
    capabilities = replace(Tabu.capabilities, target="quantum")

    def __init__(self, switch):
        super().__init__()
        self.name = f"failing/{switch}"
        self.switch = switch

    def run(self, batch):
        if os.path.exists(self.switch) and (open(self.switch).read() != "half" or random.random() < 0.5):
            raise BackendError("its fridge is warm")
        return super().run(batch)
"""

SITE = """
import os, signal
from qmosaic.processors.families.quadratic.maxcut import MaxCutFamily, MaxCutInstance

parse, evaluate = MaxCutFamily.parse, MaxCutInstance.evaluate


def dying_parse(self, problem, limits):
    if problem.seed == 667:
        os.kill(os.getpid(), signal.SIGKILL)
    found = parse(self, problem, limits)
    if problem.seed == 668:
        object.__setattr__(found, "deadly", True)
    return found


def dying_evaluate(self, solution, evidence=None):
    if getattr(self, "deadly", False):
        os.abort()
    return evaluate(self, solution, evidence)


MaxCutFamily.parse, MaxCutInstance.evaluate = dying_parse, dying_evaluate
"""


def install(folder: Path) -> Path:
    """Make it in a folder that is to be on PYTHONPATH."""
    (folder / "plugged.py").write_text(FAMILY)
    (folder / "poor.py").write_text(POOR)
    (folder / "deadly.py").write_text(BACKEND)
    (folder / "sitecustomize.py").write_text(SITE)
    about = folder / "plugged-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[qmosaic.families]\nplugged = plugged:Family\npoor = poor:Poor\n[qmosaic.backends]\n"
        "deadly = deadly:Here\ndeadly.quantum = deadly:There\nfailing = deadly:Failing\n"
        "best = deadly:Best\nidle = deadly:Idle\n"
    )
    return folder
