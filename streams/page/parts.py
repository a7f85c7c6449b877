"""The pieces that the pages are made of. Text is text: nothing here takes markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
Columns = Mapping[str, str]  # name of a cell → heading, with `>` before one that is aligned to the right


def text(tag: str, words: str = "", classes: str = "") -> TextElement:
    """An element with text."""
    return TextElement(tag=tag, text=words).classes(classes)


def head(here: str, *, control: bool) -> TextElement:
    """The head of every page; the place for its state."""
    ui.add_css(STYLE)
    with Element("header").classes("head"):
        ui.link("qmosaic", "/").classes("brand")
        with Element("nav").props('aria-label="Pages"'):
            _tab("Overview", "/", here)
            if control:
                _tab("Submit", "/submit", here)
        return text("div", "", "state").props('role="status"')


def _tab(name: str, href: str, here: str) -> None:
    link = ui.link(name, href)
    if here == name:
        link.props('aria-current="page"')


@contextmanager
def panel(title: str, classes: str = "", aside: str = "") -> Iterator[Element]:
    """A part of a page, under a heading."""
    with Element("section").classes(f"panel {classes}").props(f'aria-label="{title}"') as section:
        with Element("div").classes("title"):
            text("h2", title)
            if aside:
                text("span", aside, "dim")
        yield section


def table(
    columns: Columns, nothing: str, *, wide: Sequence[str] = (), slots: Mapping[str, str] | None = None
) -> ui.table:
    """A table without rows; `nothing`: what it says then; `wide`: columns for which a phone has no room; `slots`: how
    cells are drawn that are more than text, as templates in which only our own names stand."""
    made = ui.table(
        rows=[],
        columns=[
            {
                "name": name,
                "field": name,
                "label": heading.removeprefix(">"),
                "align": "right" if heading.startswith(">") else "left",
                "classes": f"cell-{name}{' wide' if name in wide else ''}",
                "headerClasses": f"head-{name}{' wide' if name in wide else ''}",
            }
            for name, heading in columns.items()
        ],
        row_key="key",
    ).props(f'flat dense hide-pagination no-data-label="{nothing}"')
    for name, inside in (slots or {}).items():
        made.add_slot(f"body-cell-{name}", f'<q-td :props="props">{inside}</q-td>')
    return made


LINK = '<a :href="props.row.href" :title="props.row.name">{{ props.row.name }}</a>'
STATUS = (
    "<span :class=\"'tag ' + props.row.status\">{{ props.row.status }}</span>"
    '<span class="reason">{{ props.row.reason }}</span>'
)
TRACE = (
    '<a v-if="props.row.trace" :href="props.row.trace" target="_blank" rel="noreferrer">{{ props.row.trace_id }}</a>'
    '<span v-else class="mono">{{ props.row.trace_id }}</span>'
)
TONE = "<span :class=\"'tone ' + (props.row.tone || 'good')\">{{ props.value }}</span>"
GAIN = (
    "<span :class=\"'tone ' + props.row.tone\">{{ props.row.gain }}</span>"
    '<span class="reason">{{ props.row.interval }}</span>'
)
ABOUT = (
    '<a v-if="props.row.href" :href="props.row.href">{{ props.row.said }}</a><span v-else>{{ props.row.said }}</span>'
)


def fill(made: ui.table, rows: list[dict[str, Any]]) -> None:
    """Its rows, told to the browser only where they are others."""
    if made.rows != rows:
        made.rows = rows
