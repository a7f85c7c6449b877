"""`qmosaic report`: the golden report as tables, JSON, a page and FOCUS; over a broker; hostile names, and nothing.

`python -m tests.streams.cli.test_report` writes the golden files anew: read what changed.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import ControlState, PolicySet
from qmosaic.processors.control.worth import Worth
from qmosaic.processors.report.findings import By, Findings, findings
from qmosaic.processors.report.focus import focus_csv
from qmosaic.processors.report.period import Periods
from qmosaic.processors.report.spending import Spending, spending
from qmosaic.streams.cli.report import parts
from qmosaic.streams.cli.report_page import report_page
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.pictures.paid import endings, gains
from qmosaic.streams.settings import Settings
from tests.processors.report.fixtures import HOSTILE, IONQ, NOON, audit, found, ledger
from tests.servers import ROOT
from tests.streams.cli.test_cli import run
from tests.streams.harness import settings_for

GOLDEN = Path(__file__).parent / "golden"
NOTHING = findings(Periods(lambda _: Worth()).start, Spending(), NOON)


def text_of(said: Findings, width: int = 80) -> str:
    file = io.StringIO()
    out = Console(file=file, width=width, highlight=False)
    for part in parts(said):
        out.print(part)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def page_of(said: Findings) -> str:
    """Without the pictures, which are matplotlib's."""
    return re.sub(r"<svg.*?</svg>", "<svg/>", report_page(said).decode(), flags=re.DOTALL)


def made() -> Iterator[tuple[str, str]]:
    yield "report.txt", text_of(found())
    yield "report.json", json.dumps(msgspec.to_builtins(found()), indent=1, ensure_ascii=True) + "\n"
    yield "report.html", page_of(found())
    yield "report.csv", focus_csv(spending(ledger()).charges)
    yield "nothing.txt", text_of(NOTHING)
    yield "nothing.html", page_of(NOTHING)


@pytest.mark.parametrize(("name", "text"), list(made()), ids=lambda value: value if len(value) < 20 else "")
def test_the_golden_report(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_bytes().decode()


@pytest.mark.parametrize("by", [("family", "backend"), ("tenant", "family", "kind", "size", "target", "backend")])
def test_it_fits_80_columns(by: tuple[By, ...]) -> None:
    assert max(len(line) for line in text_of(found(by)).splitlines()) <= 80


def test_what_others_wrote_is_text_and_nothing_is_loaded_or_run() -> None:
    page = report_page(found()).decode()
    assert HOSTILE[:20] not in page
    assert "&lt;img" in page
    assert "\u202e" not in page + text_of(found())
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<iframe|\bsrc=|url\((?!#)|@import", page.replace("&lt;img src=", ""))
    links = re.findall(r'(?:href|xmlns(?::\w+)?)="([^"#][^"]*)"', page)
    assert {link for link in links if not link.startswith("http://www.w3.org/")} == set()


@pytest.mark.parametrize("dark", [False, True])
def test_the_pictures_are_the_same_again_and_say_what_they_show(dark: bool) -> None:
    for picture in (gains, endings):
        svg = picture(found(), dark=dark)
        assert svg == picture(found(), dark=dark)
        root = ElementTree.fromstring(svg)  # noqa: S314 - ours
        texts = [element.text for element in root.iter() if element.text]
        assert any("portfolio" in text or "worse than" in text for text in texts), texts


def test_more_names_than_there_is_room_for_are_drawn_and_listed() -> None:
    said = found()
    many = msgspec.structs.replace(said, rows=said.rows * 300, ends=said.ends * 40)
    assert len(report_page(many)) < 2_000_000
    assert "… and" in text_of(many)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "famly"), "Did you mean family?"),
        (("--by", "a\x1b[1m"), r"told apart by 'a\x1b[1m'"),
        (("--since", "yester\x1bday"), r"cannot read --since 'yester\x1bday'"),
        (("--since", "yesterday"), "cannot read --since 'yesterday'"),
        (("--since", "1h", "--until", "2h"), "--until is not after --since"),
        (("--html", "nowhere/x.html"), "nowhere is no folder"),
        (("--focus", "there.csv"), "is there already"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    done = run("report", *options, "--broker", "127.0.0.1:1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.broker
def test_over_a_broker(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    env = {
        "QMOSAIC_BROKER": settings.broker,
        "QMOSAIC_NAMESPACE": settings.namespace,
        "QMOSAIC_TOPICS__PARTITIONS": "2",
    }
    done = run("report", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not there" in done.stderr
    asyncio.run(create_topics(settings))
    empty = run("report", "--html", "empty.html", "--focus", "empty.csv", cwd=tmp_path, **env)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert (tmp_path / "empty.csv").read_text().startswith("BilledCost,")
    assert "Nothing has ended yet." in run("report", cwd=tmp_path, **env).stdout
    asyncio.run(_filled(settings))
    done = run(
        "report", "--json", "--html", "r.html", "--focus", "r.csv", "--by", "family,backend", cwd=tmp_path, **env
    )
    assert done.returncode == 0, done.stderr
    said = msgspec.json.decode(done.stdout, type=Findings)
    assert said.problems == found().problems
    assert said.ends == found().ends
    assert [row.runs for row in said.rows] == [row.runs for row in found().rows]
    assert said.booked == found().booked
    (row,) = [row for row in said.rows if row.by == {"family": "labs", "backend": IONQ}]
    assert row.worth is not None
    assert row.worth.mean == pytest.approx(-2 - 0.3)  # by the policy in force, a second costs a dollar
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_bytes().decode(), newline="")))
    assert len(rows) == len(spending(ledger()).charges)
    later = run("report", "--since", "2999-01-01", cwd=tmp_path, **env)
    assert "0 problems" not in later.stdout
    assert "No backend has run anything." in later.stdout
    of = run("report", "--json", "--tenant", "acme/lab", cwd=tmp_path, **env)
    assert json.loads(of.stdout)["problems"] == 4


async def _filled(settings: Settings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        for k, entry in enumerate(audit()):
            await producer.send(topic_name(settings, "audit"), wire.encode(entry), partition=k % 2)
        for value in (b"nonsense", b"{}", b"[" * 5000, b'{"event": "settled", "evidence": 3}'):
            await producer.send(topic_name(settings, "audit"), value, partition=0)
        for line in ledger():
            await producer.send(topic_name(settings, "ledger"), wire.encode(line), partition=0)
        text = "[worth]\nsecond = 1.0\n"
        policy = PolicySet(number=1, version="v", text=text, who="w", why="y", at=NOON)
        state = wire.encode(ControlState(policy=policy))
        await producer.send_and_wait(topic_name(settings, "control.state"), state, key=b"policy", partition=0)


def test_the_page_about_it_names_every_field() -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for name in Findings.__struct_fields__:
        assert f"`{name}`" in text, name


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for file, said in made():
        (GOLDEN / file).write_bytes(said.encode())
