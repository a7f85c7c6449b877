"""What the page shows is what the events say; anybody can use it; nobody's name does anything; nobody else may ask."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.settings import Settings
from tests.streams.page.conftest import Served, serving
from tests.streams.page.feeding import HOSTILE, TRACE, Feed, in_a_loop, still_alive

pytestmark = pytest.mark.page

PATIENCE = 20_000.0
PHONE: Any = {"width": 375, "height": 740}
DESK: Any = {"width": 1280, "height": 900}
PAGES = ("", "problem/petersen", "submit")
expect.set_options(timeout=PATIENCE)


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, served: Served, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab in which nothing goes wrong, and nothing is loaded from elsewhere."""
    yield from tab(browser, served, color_scheme=request.param, viewport=DESK)


@pytest.fixture
def phone(browser: Browser, served: Served) -> Iterator[Page]:
    yield from tab(browser, served, viewport=PHONE)


def tab(browser: Browser, served: Served, **options: Any) -> Iterator[Page]:
    context = browser.new_context(base_url=served.address, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert wrong == []
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []
    context.close()


def row(page: Page, name: str) -> Locator:
    """A row of the outcomes, by the problem's name."""
    return page.get_by_role("region", name="Outcomes", exact=True).locator("tbody tr").filter(has_text=name)


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def test_the_figures_are_those_of_the_events(page: Page, served: Served) -> None:
    page.goto("")
    mine = row(page, "petersen")
    for name, value in {
        "family": "maxcut", "objective": "4", "baseline": "3", "gain": "+1", "cost": "$0.25", "seconds": "378 ms",
        "backend": "cirq.statevector", "trace": TRACE[:8],
    }.items():  # fmt: skip
        expect(mine.locator(f".cell-{name}")).to_have_text(value)
    expect(mine.get_by_text("accepted", exact=True)).to_be_visible()
    expect(mine.get_by_role("link", name=TRACE[:8])).to_have_attribute("href", f"http://127.0.0.1:16686/trace/{TRACE}")
    expect(row(page, "loop").get_by_text("invalid problem")).to_be_visible()
    budget = panel(page, "Budgets").locator("tbody tr")
    expect(budget.locator(".cell-left")).to_have_text("$7.50 of $10.00")
    expect(budget.locator(".cell-share")).to_have_text("75 %")
    expect(panel(page, "Backends").locator("tbody tr").first).to_contain_text("breaker")
    expect(page.get_by_role("status")).to_contain_text("policy 3 (b9ac96714ac5)")
    figures = page.locator(".figures > div")
    expect(figures.filter(has_text="after the deadline").locator("dd")).to_have_text("0")


async def one_more(settings: Settings, name: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        feed = Feed(settings, producer)
        await still_alive(feed)
        await feed.ended(name, objective=41)


def test_what_arrives_is_pushed_and_a_pause_holds_it(browser: Browser, served: Served) -> None:
    for page in tab(browser, served):
        page.goto("")
        expect(row(page, "petersen")).to_be_visible()
        in_a_loop(one_more(served.settings, "arrived-1"))
        expect(row(page, "arrived-1").locator(".cell-objective")).to_have_text("41")
        hop = panel(page, "Flow").locator(".hop").filter(has_text="execute.quantum")
        expect(hop.locator(".rate")).not_to_have_text("0")
        pause = page.get_by_role("button", name="Pause")
        pause.press("Enter")
        expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
        in_a_loop(one_more(served.settings, "arrived-2"))
        figure = panel(page, "Routing").locator("tbody tr").filter(has_text="cirq.statevector").locator(".cell-count")
        expect(figure).not_to_have_text("1")  # the rest goes on
        expect(row(page, "arrived-2")).to_have_count(0)
        page.get_by_role("button", name="Go on").press("Enter")
        expect(row(page, "arrived-2")).to_be_visible()


def test_evidence_is_as_control_holds_it(page: Page) -> None:
    page.goto("")
    mine = panel(page, "Evidence").locator("tbody tr").filter(has_text="cirq.statevector")
    expect(mine).to_contain_text("maxcut")
    expect(mine).to_contain_text("17-32")
    expect(mine.locator(".tone.good")).to_have_text("+2.9 %")
    expect(mine.locator(".cell-gain .reason")).to_have_text(re.compile(r"^\+2\.\d % to \+3\.\d %$"))
    hostile = panel(page, "Evidence").locator("tbody tr").filter(has_text=r"\u202e")
    expect(hostile.locator(".tone.bad")).to_contain_text("-4.8 %")


def test_a_problem_has_its_story_and_its_picture(page: Page) -> None:
    page.goto("")
    row(page, "petersen").get_by_role("link", name="petersen").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("petersen")
    answer = panel(page, "Answer")
    expect(answer).to_contain_text("one side    2: 0, 2")
    expect(answer).to_contain_text("4 qubits, depth 11, 8 two-qubit gates, 1024 shots")
    expect(panel(page, "Timeline")).to_contain_text("waited 30 ms, worked 78 ms")
    decision = panel(page, "Decision")
    expect(decision).to_contain_text("rule small: the rule matched")
    expect(decision.locator("tbody tr").filter(has_text="exact")).to_contain_text("it has it next")
    expect(panel(page, "Audit")).to_contain_text("settled 4.5 s before its deadline")
    picture = page.get_by_role("img", name="The solution of this maxcut problem, drawn")
    expect(picture).to_have_js_property("naturalWidth", 864)


def test_an_id_may_have_any_characters(browser: Browser, served: Served) -> None:
    for page in tab(browser, served):
        page.goto("")
        row(page, "waits/for?it").get_by_role("link").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("waits/for?it")
        expect(page.get_by_text("fallback: deadline")).to_be_visible()
        page.goto("/problem/nobody")
        expect(page.get_by_text("nothing is known of it")).to_be_visible()


def test_a_hostile_name_is_text_and_cut(page: Page) -> None:
    shown = r'<img src=x onerror="document.title=1">\u202e\u202e<b>{{ 7*7 }}</b>AAA'
    page.goto("")
    mine = page.locator('.cell-name a[href="/problem/hostile"]')
    expect(mine).to_contain_text(shown)
    assert len(mine.inner_text()) <= 200
    expect(panel(page, "Audit")).to_contain_text(shown)
    mine.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(shown)
    page.goto("/problem/loop")
    expect(panel(page, "Why it was rejected")).to_contain_text(shown)
    page.goto(f"/problem/{HOSTILE[:60]}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(shown[:50])
    assert page.title() == "qmosaic"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("where", PAGES)
def test_axe_finds_no_serious_fault(page: Page, where: str) -> None:
    page.goto(where)
    settled(page, where)
    found = Axe().run(page).response["violations"]
    grave = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in GRAVE]
    assert grave == []


GRAVE = ("serious", "critical")


def settled(page: Page, where: str) -> None:
    """Until the page is there as a whole."""
    if where == "":
        expect(row(page, "petersen")).to_be_visible()
    elif where == "submit":
        expect(page.get_by_label("Token")).to_be_visible()
    else:
        expect(panel(page, "Event")).to_be_visible()


@pytest.mark.parametrize("where", PAGES)
def test_a_phone_need_not_scroll_sideways(phone: Page, where: str) -> None:
    phone.goto(where)
    settled(phone, where)
    # For a moment, while parts still arrive, it may be wider.
    phone.wait_for_function(f"document.documentElement.scrollWidth <= {PHONE['width']}")
    wide = "[...document.querySelectorAll('.q-table__middle')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert phone.evaluate(f"{wide}.map(e => e.closest('section').getAttribute('aria-label'))") == []


def test_the_keyboard_reaches_everything(browser: Browser, served: Served) -> None:
    for page in tab(browser, served, viewport=DESK):
        page.goto("")
        expect(row(page, "petersen")).to_be_visible()
        wanted = page.evaluate("document.querySelectorAll('a[href], button').length")
        reached: set[str] = set()
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("(e => e.getAttribute('href') || e.innerText.trim())(document.activeElement)"))
            ring = page.evaluate("(s => [s.outlineStyle, s.boxShadow])(getComputedStyle(document.activeElement))")
            assert ring != ["none", "none"] or page.evaluate("document.activeElement.outerHTML").startswith("<body")
        assert {"/", "/submit", "/problem/petersen", "Pause"} <= reached


# -- the form -------------------------------------------------------------------------------------------------------


def sent(settings: Settings) -> list[dict[str, Any]]:
    """The problems that were sent by a page."""

    async def work() -> list[dict[str, Any]]:
        places = [TopicPartition(topic_name(settings, "problems"), number) for number in range(2)]
        async with reader(settings, places) as consumer:
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning(*places)
            records = [record async for record in to_end(consumer, ends)]
        return [json.loads(one.value) for one in records if ("ce_source", b"/qmosaic/page") in one.headers]

    return in_a_loop(work())


def test_nothing_is_submitted_without_the_token(browser: Browser, served: Served, tmp_path: Path) -> None:
    for page in tab(browser, served):
        page.goto("submit")
        page.get_by_label("Token").fill("x" * 32)
        page.get_by_role("button", name="Unlock").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        expect(page.get_by_role("button", name="Submit")).to_have_count(0)
        page.get_by_label("Token").fill(served.token)
        page.keyboard.press("Enter")
        pasted = page.get_by_label("A problem event, as JSON")
        pasted.fill('{"family": "maxcut", ')
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("alert")).to_contain_text("pasted.json")
        assert sent(served.settings) == []
        pasted.fill('{"family": "maxcut", "problem": {"edges": [[0, 1]]}, "id": "pasted-1"}')
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("link", name="pasted-1")).to_have_attribute("href", "/problem/pasted-1")
        file = tmp_path / "square.rud"
        file.write_text("4 4\n1 2 1\n2 3 1\n3 4 1\n4 1 1\n")
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_label("What was sent").get_by_role("listitem")).to_have_count(2)
    first, second = sorted(sent(served.settings), key=lambda one: one["id"] != "pasted-1")  # of two partitions
    assert (first["id"], first["problem"]) == ("pasted-1", {"edges": [[0, 1]]})
    assert (second["family"], second["labels"]["file"], second["problem"]["nodes"]) == ("maxcut", "square.rud", 4)


def test_without_control_there_is_no_form(browser: Browser, served: Served, tmp_path: Path) -> None:
    for other in serving(served.settings, tmp_path):
        assert other.token == ""
        for page in tab(browser, other):
            page.goto("submit")
            expect(page.get_by_text("This page is read-only.")).to_be_visible()
            expect(page.locator("input, textarea")).to_have_count(0)
            page.goto("")
            expect(page.get_by_role("link", name="Submit")).to_have_count(0)


# -- who may ask ----------------------------------------------------------------------------------------------------


def ask(served: Served, path: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> int:
    port = int(served.address.rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body=body or None, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_another_name_or_another_page_is_refused(served: Served) -> None:
    own = served.address.removeprefix("http://").rstrip("/")
    port = own.rpartition(":")[2]
    assert ask(served) == ask(served, Host=f"localhost:{port}") == ask(served, Origin=f"http://{own}") == 200
    assert ask(served, Host=f"rebound.example:{port}") == 403
    assert ask(served, Host="[") == 403
    assert ask(served, Origin="http://elsewhere.example") == ask(served, Origin="null") == 403
    socket: Any = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    socket["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    assert ask(served, path, "GET", b"", **socket, Origin=f"http://{own}") == 101
    assert ask(served, path, "GET", b"", **socket, Origin="http://elsewhere.example") == 403
    assert ask(served, "/", "POST", b"x" * (9 * 2**20)) == 413
