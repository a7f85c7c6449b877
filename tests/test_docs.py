"""The pages tell everything there is and nothing else: every closed enum, every setting with its default."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import orjson
import pytest
import yaml

from qmosaic.codecs import errors
from qmosaic.codecs.events import control, hops, public, reasons
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.instruments import INSTRUMENTS
from tests.servers import ROOT


def words(kind: type[msgspec.Struct], name: str) -> set[str]:
    """The values of a field that is an enum."""
    return set(get_args(get_type_hints(kind)[name]))


ENUMS: dict[str, set[str]] = {
    "Status": words(public.Outcome, "status") | words(public.Rejection, "status"),
    "Outcome reasons": set(get_args(reasons.OutcomeReason)),
    "Route reasons": set(get_args(reasons.RouteReason)),
    "Candidate reasons": set(get_args(reasons.CandidateReason)),
    "Reject codes": set(get_args(errors.RejectCode)),
    "Failures inside the pipeline": words(hops.Failure, "reason"),
    "Audit events": words(control.AuditEntry, "event"),
    "Error codes": {kind.code for kind in errors.QmosaicError.__subclasses__() if kind is not errors.ProblemError},
}


def page(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(section: str) -> list[str]:
    """What the first column of a section's table holds, between backquotes."""
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """Heading → what stands under it."""
    return {part.partition("\n")[0].strip(): part for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}


@pytest.mark.parametrize("heading", ENUMS)
def test_every_reason_stands_in_its_table(heading: str) -> None:
    told = rows(sections(page("reasons.md"))[heading])
    assert sorted(told) == sorted(ENUMS[heading])


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """`limits.variables` → its default."""
    out: dict[str, Any] = {}
    for key, inner in msgspec.structs.asdict(value).items():
        out |= leaves(inner, f"{prefix}{key}.") if isinstance(inner, msgspec.Struct) else {f"{prefix}{key}": inner}
    return out


def test_every_setting_stands_in_operations_with_its_default() -> None:
    section = sections(page("operations.md"))["Settings"]
    told = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE))
    settings = leaves(Settings())
    assert told.keys() == settings.keys()
    for key, default in settings.items():
        if not isinstance(default, dict | tuple):  # those are told in words
            assert told[key].strip() == f"`{orjson.dumps(default).decode()}`", key


def test_every_metric_stands_in_its_table() -> None:
    section = sections(page("metrics.md"))["What is measured"]
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    assert told == [
        [f"`{one.name}`", one.kind, f"`{one.unit}`", ", ".join(f"`{key}`" for key in one.attributes), one.says]
        for one in INSTRUMENTS
    ]


def test_every_alert_has_its_line() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert rows(sections(page("metrics.md"))["Alerts"]) == [rule["alert"] for rule in alerts]
    assert {rule["annotations"]["runbook"] for rule in alerts} == {
        f"docs/metrics.md: {rule['alert']}" for rule in alerts
    }


def test_the_example_is_printed_as_it_is() -> None:
    for path in (ROOT / "examples" / "descent_backend").glob("*.*"):
        assert path.read_text(encoding="utf-8").strip() in page("backends.md")


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in targets if "://" not in link and not (path.parent / link).exists()] == []


def test_the_picture_of_the_rooms_is_made_from_the_imports() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "images" / "make_rooms.py"))
    assert made["drawn"]() == (ROOT / "docs" / "images" / "rooms.svg").read_text(encoding="utf-8")
