"""A policy as a TOML file: read, checked with file and line, and written.

attempts = 2                       # the most candidates of a kernel; 1 unless it is said

[[rules]]                          # the first that matches decides; none: the rules there are without a file
name = "small"
target = "quantum"
max_qubits = 12
then = ["gpu", "exact"]            # where that fails: targets, or backends by name

[preference]                       # by target, which backend goes first
quantum = ["cirq.statevector"]

[[rules]]
name = "what pays"
target = "auto"                    # evidence says which of these, or a classical backend
then = ["gpu", "ionq/simulator"]

[worth]                            # of a run: a percent of gain, less seconds and dollars
percent = 1.0
second = 0.01
dollar = 1.0

[tenants.acme]                     # rules that come before the others, attempts, explore and worth, for one tenant
attempts = 3
weight = 2.0                       # its share where events wait, and that of acme/chem; 1 unless it is said
explore = 0.0                      # the share of kernels and budgets that finds out what pays; 0.05 unless it is said
[[tenants.acme.rules]]
name = "acme pays"
target = "quantum"
backend = "ionq/simulator"

[families.route]                   # the same for one family, but a weight
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.text import choose
from qmosaic.processors.control.policy import (
    DEFAULT_PREFERENCE,
    DEFAULT_RULES,
    EXPLORE,
    TARGETS,
    Attempts,
    OfTenant,
    Rule,
    Share,
    Special,
)
from qmosaic.processors.control.worth import Worth

MOST_BYTES = 256 * 1024
MOST_RULES = 1000
_WHERE = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\[\.\.\.\]")
_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^.]+)""")


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a file says."""

    attempts: Attempts = 1
    rules: tuple[Rule, ...] = DEFAULT_RULES
    preference: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DEFAULT_PREFERENCE))
    tenants: dict[str, OfTenant] = {}
    families: dict[str, Special] = {}
    explore: Share = EXPLORE
    worth: Worth = Worth()


def read_policy(
    text: str, name: str, is_known: Callable[[str], bool] = lambda _: True, backends: Collection[str] = ()
) -> PolicyFile:
    """Read and check a file. Raises SettingsError with file and line.

    `is_known`: whether there is a backend of a name; `backends`: what to suggest instead.
    """
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise SettingsError(f"expected at most {MOST_BYTES} bytes", place=name, remedy="A policy is a table of rules.")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        raise SettingsError(str(error), place=f"{name}:{line[1]}" if line else name, remedy="Mend the TOML.") from None
    try:
        found = msgspec.convert(values, PolicyFile)
    except msgspec.ValidationError as error:
        where = _WHERE.search(str(error))
        path = _path(where[1], values) if where else ()
        message = _WHERE.sub("", str(error)) + (f" ({'.'.join(path)})" if path else "")
        raise _wrong(message, path, text, name, "`qmosaic policy show` prints the one in force.") from None
    _check(found, text, name, is_known, backends)
    return found


Path = tuple[str, ...]
"""Keys, and the numbers of what is listed: `rules`, `1`, `target`."""


def _path(told: str, values: dict[str, Any]) -> Path:
    """What msgspec says of the place of an error, which does not name the keys of a table of tables: it is the first
    that is wrong."""
    path: list[str] = []
    for step in _STEP.finditer(told):
        key = step[1] or step[2]
        if key is None:
            table = path[-1]
            key = next((who for who, said in values[table].items() if _is_wrong({table: {who: said}})), "")
        path.append(key)
    return tuple(path)


def _is_wrong(values: dict[str, Any]) -> bool:
    try:
        msgspec.convert(values, PolicyFile)
    except msgspec.ValidationError:
        return True
    return False


def _check(found: PolicyFile, text: str, name: str, is_known: Callable[[str], bool], backends: Collection[str]) -> None:
    """What no type says: names that are known, and each once."""
    tables: list[tuple[Path, tuple[Rule, ...]]] = [((), found.rules)]
    for kind, overrides in (("tenants", found.tenants), ("families", found.families)):
        tables += [((kind, who), said.rules) for who, said in overrides.items()]
    for at, rules in tables:
        seen: dict[str, int] = {}
        for k, rule in enumerate(rules[: MOST_RULES + 1]):
            place = (*at, "rules", str(k))
            if k == MOST_RULES:
                raise _wrong(f"more than {MOST_RULES} rules", place, text, name, "Write fewer.")
            if rule.name in seen:
                message = f"two rules are called {rule.name!r}"
                raise _wrong(message, (*place, "name"), text, name, "Outcomes tell a rule by its name.")
            seen[rule.name] = k
            if rule.min_qubits > rule.max_qubits or rule.min_density > rule.max_density:
                raise _wrong("no kernel can match: the least is above the most", place, text, name, "Turn them round.")
            if rule.target == "auto" and rule.backend is not None:
                message, remedy = "auto chooses among those of `then`", "Name it there instead."
                raise _wrong(message, (*place, "backend"), text, name, remedy)
            if rule.target == "auto" and not rule.then:
                message, remedy = "auto needs `then`: who may have it", "Name targets or backends there."
                raise _wrong(message, (*place, "target"), text, name, remedy)
            first = next((one for one in rules[:k] if one.covers(rule)), None)
            if first is not None:
                message = f"{rule.name!r} can never match: {first.name!r} before it decides about all of it"
                raise _wrong(message, (*place, "name"), text, name, "Put it before that one, or leave it out.")
            table, who = at or ("", "")
            whose = {"tenants": rule.tenants, "families": rule.families}.get(table, ())
            if whose and who not in whose:
                message = f"{rule.name!r} can never match: it is asked for {who} alone"
                raise _wrong(message, (*place, table), text, name, f"Leave {table} out.")
            for key, one in (("backend", rule.backend), *(("then", each) for each in rule.then)):
                if one is not None and (key, one) not in _TARGETS and not is_known(one):
                    remedy = choose(one, [*backends, *(TARGETS if key == "then" else ())])
                    raise _wrong(f"no backend is called {one!r}", (*place, key), text, name, remedy)
    for target in found.preference:
        if target not in TARGETS:
            message, remedy = f"no target is called {target!r}", choose(target, TARGETS)
            raise _wrong(message, ("preference", target), text, name, remedy)


_TARGETS = {("then", target) for target in TARGETS}


def _wrong(message: str, path: Path, text: str, name: str, remedy: str) -> SettingsError:
    return SettingsError(message, place=f"{name}:{line_of(text, path)}", remedy=remedy)


def line_of(text: str, path: Path) -> int:
    """The line on which what a path (`rules`, `1`, `target`) names is said, or its table begins; 1 where it is nowhere.

    `tomllib` tells no places. Tables are found by their headers and keys within them, which is how policies are
    written; of an inline table its line.
    """
    lines = text.splitlines()
    table: list[str] = []
    counts: dict[str, int] = {}
    best, depth = 1, 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        header = re.fullmatch(r"(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?", stripped)
        if header:
            table = [part.strip().strip("\"'") for part in _KEY.findall(header[2])]
            if header[1] == "[[":
                dotted = ".".join(table)
                counts[dotted] = counts.get(dotted, -1) + 1
                table = [*table, str(counts[dotted])]
            said = table
        else:
            key, equals, _ = stripped.partition("=")
            if not equals or stripped.startswith("#"):
                continue
            said = [*table, key.strip().strip("\"'")]
        if depth < len(said) <= len(path) and path[: len(said)] == tuple(said):
            best, depth = number, len(said)
    return best


def write_policy(policy: PolicyFile) -> str:
    """The file that says the same."""
    lines = [f"attempts = {policy.attempts}"]
    if policy.explore != EXPLORE:
        lines.append(f"explore = {policy.explore}")
    for rule in policy.rules:
        lines += ["", "[[rules]]", *_rule(rule)]
    if policy.worth != Worth():
        lines += ["", "[worth]", *_worth(policy.worth)]
    lines += ["", "[preference]", *(f"{_key(key)} = {_value(list(names))}" for key, names in policy.preference.items())]
    for kind, overrides in (("tenants", policy.tenants), ("families", policy.families)):
        for who, said in overrides.items():
            table = f"{kind}.{_key(who)}"
            lines += ["", f"[{table}]"]
            if said.attempts is not None:
                lines.append(f"attempts = {said.attempts}")
            if said.explore is not None:
                lines.append(f"explore = {said.explore}")
            if isinstance(said, OfTenant) and said.weight is not None:
                lines.append(f"weight = {said.weight}")
            if said.worth is not None:
                lines += ["", f"[{table}.worth]", *_worth(said.worth)]
            for rule in said.rules:
                lines += ["", f"[[{table}.rules]]", *_rule(rule)]
    return "\n".join(lines) + "\n"


def _worth(worth: Worth) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in msgspec.structs.asdict(worth).items()]


def _rule(rule: Rule) -> list[str]:
    plain = Rule(rule.name, rule.target)
    said = msgspec.to_builtins(rule)
    return [
        f"{key} = {_value(value)}"
        for key, value in said.items()
        if key in ("name", "target") or getattr(rule, key) != getattr(plain, key)
    ]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # a JSON string is a basic string of TOML, but for DEL, which TOML wants escaped
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return repr(value)
