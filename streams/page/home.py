"""The first page: the flow hop by hop, outcomes as they arrive, where they went and why, what is left of budgets."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from qmosaic.codecs.text import shown
from qmosaic.processors.overview.overview import ended_each_second
from qmosaic.processors.overview.window import SECONDS
from qmosaic.streams.observe.report import Hop, Report
from qmosaic.streams.observe.words import rate
from qmosaic.streams.page.live import LOOK_SECONDS, Live, View
from qmosaic.streams.page.parts import ABOUT, GAIN, LINK, STATUS, TONE, TRACE, fill, head, panel, table, text
from qmosaic.streams.page.rows import (
    backend_rows,
    budget_rows,
    clock,
    end_rows,
    evidence_rows,
    figures,
    hop_cells,
    note_rows,
    route_rows,
)

STEPS = (("encode",), ("reduce",), ("route",), ("execute.classical", "execute.gpu", "execute.quantum"), ("verify",))
"""The flow from left to right; what stands in one place is side by side."""
MOST_WARNINGS = 5
COLOURS = {"accepted": "#2b9d73", "fallback": "#d08a1d", "rejected": "#d64c4c"}

LINE = {"lineStyle": {"color": "rgba(128,140,155,0.28)"}}
"""Of the chart, on any background."""


class Home:
    """One browser's first page."""

    def __init__(self, live: Live, *, traces: str, control: bool) -> None:
        self._live, self._traces = live, traces
        self._seen, self._paused = -1, False
        self._state = head("Overview", control=control)
        text("h1", "The pipeline now", "sr-only")
        self._trouble = text("p", "", "trouble").props('role="alert"')
        self._figures = self._strip()
        self._flow = self._stages()
        self._chart = self._minute()
        self._ends = self._outcomes()
        with Element("div").classes("two"):
            with Element("div"):
                self._routes, self._budgets = self._routing(), self._left()
                self._evidence = self._believed()
            with Element("div"):
                self._backends, self._notes = self._alive(), self._audit()
        ui.timer(LOOK_SECONDS, self._refresh)

    # -- what there is to see ---------------------------------------------------------------------------------

    def _strip(self) -> dict[str, TextElement]:
        found = {}
        with Element("dl").classes("figures").props('aria-label="Figures of the last minute"'):
            for name in figures(Report("", [])):
                with Element("div"):
                    text("dt", name)
                    found[name] = text("dd", "–")
        return found

    def _stages(self) -> dict[str, tuple[Element, dict[str, TextElement]]]:
        found = {}
        about = "problems a second and 95th percentiles of the last minute; records that wait now"
        with panel("Flow", aside=about), Element("ol").classes("flow"):
            for step in STEPS:
                with Element("li").classes("step wider" if len(step) > 1 else "step"):
                    for stage in step:
                        with Element("div").classes("hop") as box:
                            text("h3", stage)
                            with Element("p"):
                                cells = {"rate": text("span", "0", "rate")}
                                text("span", "/s", "per")
                            with Element("dl"):
                                for cell, name in (("lag", "waiting"), ("waited", "p95 wait"), ("worked", "p95 work")):
                                    with Element("div"):
                                        text("dt", name)
                                        cells[cell] = text("dd", "–")
                        found[stage] = box, cells
            with Element("li").classes("step ends"):
                for status in COLOURS:
                    with Element("div").classes(f"hop {status}") as box:
                        text("h3", status)
                        with Element("p"):
                            found[status] = box, {"rate": text("span", "0", "rate")}
                            text("span", "/s", "per")
        return found

    def _minute(self) -> ui.echart:
        with panel("Outcomes a second", "minute"):
            ago = [SECONDS - 1 - number for number in range(SECONDS)]
            labels = ["now" if second == 0 else f"{second} s ago" if second % 15 == 0 else "" for second in ago]
            chart = ui.echart(_chart_options(labels), renderer="svg")
            chart.props('role="img" aria-label="Problems that ended in each of the last 60 seconds, by status"')
        return chart.classes("chart")

    def _routing(self) -> ui.table:
        with panel("Routing", aside="last minute"):
            return table(
                {"target": "target", "backend": "backend", "reason": "why", "count": ">problems", "share": ">share"},
                "Nothing was routed in the last minute.",
                wide=("target",),
                slots={"reason": '<span :title="props.row.means">{{ props.value }}</span>'},
            )

    def _left(self) -> ui.table:
        with panel("Budgets"):
            return table(
                {"budget": "budget", "window": "window", "left": ">left", "share": ">share"},
                "No budget is set.",
                wide=("window",),
                slots={"share": TONE},
            )

    def _believed(self) -> ui.table:
        with panel("Evidence", aside="gain over the baseline, and what holds it nine times in ten"):
            return table(
                {
                    "family": "family",
                    "kernel": "kernel",
                    "backend": "backend",
                    "gain": ">gain",
                    "runs": ">runs",
                },
                "Nothing is known of any backend yet.",
                wide=("kernel", "runs"),
                slots={"gain": GAIN},
            )

    def _alive(self) -> ui.table:
        with panel("Backends"):
            return table(
                {"backend": "backend", "target": "target", "workers": ">workers", "state": "state"},
                "No execute worker was heard of lately.",
                wide=("target",),
                slots={"state": TONE},
            )

    def _audit(self) -> ui.table:
        with panel("Audit", aside="breakers, refusals, orders"):
            return table(
                {"at": "at (UTC)", "event": "event", "about": "about", "said": "said"},
                "Nothing to tell.",
                wide=("at", "about"),
                slots={"said": ABOUT},
            )

    def _outcomes(self) -> ui.table:
        with panel("Outcomes") as section:
            with section.default_slot.children[0]:
                self._pause = ui.button("Pause", on_click=self._toggle, color=None).props(
                    'flat dense no-caps aria-pressed="false"'
                )
            return table(
                {
                    "at": "at (UTC)",
                    "name": "problem",
                    "family": "family",
                    "status": "status",
                    "objective": ">objective",
                    "baseline": ">baseline",
                    "gain": ">gain",
                    "cost": ">cost",
                    "backend": "backend",
                    "seconds": ">time",
                    "trace": "trace",
                },
                "No problem has ended lately.",
                wide=("at", "family", "baseline", "gain", "cost", "backend", "trace"),
                slots={"name": LINK, "status": STATUS, "trace": TRACE},
            )

    # -- what changes -----------------------------------------------------------------------------------------

    def _toggle(self) -> None:
        self._paused = not self._paused
        self._pause.text = "Go on" if self._paused else "Pause"
        self._pause.props(f'aria-pressed="{"true" if self._paused else "false"}"')

    def _refresh(self) -> None:
        view = self._live.want()
        if view.number == self._seen:
            return
        self._seen = view.number
        warnings = view.report.warnings if view.report is not None and not view.trouble else []
        self._trouble.text = shown(view.trouble or " · ".join(warnings[:MOST_WARNINGS]), 1000)
        if view.report is None:
            return
        self._say(view, view.report)
        if not self._paused:
            fill(self._ends, end_rows(view.known, self._traces))
        fill(self._routes, route_rows(view.known, view.report.at))
        fill(self._notes, note_rows(view.known))
        fill(self._evidence, evidence_rows(view.known, view.report.at))
        self._draw(view, view.report.at)

    def _say(self, view: View, report: Report) -> None:
        good = not report.problems and not view.trouble
        policy = f"policy {report.policy}" if report.policy else "policy of the settings"
        health = report.health if not view.trouble else "no news from the broker"
        self._state.text = (
            f"{shown(health, 200)} · {shown(policy, 60)} · {shown(report.broker, 60)} · {clock(report.at)} UTC"
        )
        self._state.classes(replace=f"state {'good' if good else 'bad'}")
        for name, value in figures(report).items():
            self._figures[name].text = value
        for hop in report.hops:
            if hop.stage in self._flow:
                self._show_hop(hop)
        for status in COLOURS:
            self._flow[status][1]["rate"].text = rate(report.ended.get(status, 0) / SECONDS)
        fill(self._backends, backend_rows(report))
        fill(self._budgets, budget_rows(report))

    def _show_hop(self, hop: Hop) -> None:
        box, cells = self._flow[hop.stage]
        for name, value in hop_cells(hop).items():
            cells[name].text = value
        box.classes(replace=f"hop{' busy' if hop.lag else ''}{' idle' if not hop.rate and not hop.lag else ''}")

    def _draw(self, view: View, now: float) -> None:
        series: list[dict[str, Any]] = self._chart.options["series"]
        counts = ended_each_second(view.known.ends.window, now)
        if any(one["data"] != counts[one["name"]] for one in series):
            for one in series:
                one["data"] = counts[one["name"]]
            self._chart.update()


def _chart_options(labels: list[str]) -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": 44, "right": 12, "top": 30, "bottom": 24},
        "legend": {
            "itemGap": 18,
            "top": 0,
            "right": 8,
            "itemWidth": 12,
            "itemHeight": 8,
            "icon": "roundRect",
            "selectedMode": False,
        },
        "tooltip": {"trigger": "axis", "renderMode": "richText", "axisPointer": {"type": "shadow"}},
        "xAxis": {
            "type": "category",
            "data": labels,
            "axisLabel": {"interval": 0},
            "axisTick": {"show": False},
            "axisLine": LINE,
        },
        "yAxis": {"type": "value", "minInterval": 1, "splitNumber": 3, "splitLine": LINE},
        "series": [
            {
                "name": name,
                "type": "bar",
                "stack": "all",
                "data": [0] * len(labels),
                "itemStyle": {"color": colour},
                "barCategoryGap": "25%",
            }
            for name, colour in COLOURS.items()
        ],
    }
