"""The report as a page that opens from disk: it loads nothing and runs nothing; pictures are in it, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from qmosaic.codecs.events.ledger import dollars
from qmosaic.codecs.text import shown
from qmosaic.processors.report.findings import BY, Findings, Interval
from qmosaic.streams.cli.plot import POLICY
from qmosaic.streams.cli.report_words import VERDICTS, by_group, dollars_text, factor_text, headline, jobs_text
from qmosaic.streams.cli.times import moment
from qmosaic.streams.observe.words import duration, percent
from qmosaic.streams.pictures.paid import endings, gains

MOST_ROWS = 500
MOST_TEXT = 60
MOST_NAMES = 2
STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif;--page:#fff;--text:#1d232c;--muted:#5a6472;
--line:#d3d9e0;--good:#00694c;--bad:#a84600;--open:#7a5300}
*{box-sizing:border-box}
body{max-width:74rem;margin:0 auto;padding:1.5rem 1rem 3rem;background:var(--page);color:var(--text)}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.4rem 0;max-width:46rem}
.dim{color:var(--muted);font-size:.9rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0}
dt{color:var(--muted);font-size:.85rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
figure{margin:.5rem 0;max-width:36rem}
svg{display:block;width:100%;height:auto}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
th{color:var(--muted);font-weight:600}
td.n,th.n{text-align:right}
td.n{white-space:pre}
td.w{min-width:7.5rem;max-width:18rem;overflow-wrap:break-word}
.paid{color:var(--good);font-weight:600}
.did_not_pay{color:var(--bad);font-weight:600}
.unclear{color:var(--open)}
.not_compared{color:var(--muted)}
.dark{display:none}
@media (max-width:46rem){
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody{display:block}
tr{display:grid;grid-template-columns:1fr 1fr;gap:.4rem .8rem;padding:.7rem;border-bottom:1px solid var(--line)}
tr:last-child{border-bottom:0}
td,td.n,td.w{display:block;min-width:0;max-width:none;padding:0;border:0;text-align:left;overflow-wrap:break-word}
td.n{white-space:pre-line}
td:empty{display:none}
td::before{content:attr(data-of);display:block;color:var(--muted);font-size:.8rem;font-weight:400}
}
@media (prefers-color-scheme:dark){
:root{--page:#12171e;--text:#e9edf2;--muted:#a5b0bd;--line:#3a4450;--good:#2fc79a;--bad:#ff8a4c;--open:#e6b450}
.light{display:none}
.dark{display:block}
}
"""


def report_page(found: Findings) -> bytes:
    """The page. Raises ImportError without matplotlib (the extra `plot`)."""
    title = escape(headline(found))
    body = "\n".join(part for part in _parts(found) if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · qmosaic</title><style>{STYLE}</style></head><body><main>\n"
        f"<h1>{title}</h1>\n{body}\n</main></body></html>\n"
    ).encode()


def _parts(found: Findings) -> Iterable[str]:
    at = f"{moment(found.at)} UTC"
    yield f'<p class="dim">Made by qmosaic at {at}, by {escape(", ".join(found.by))}.</p>'
    yield _figures(found)
    yield "<h2>What backends gained</h2>"
    if found.rows:
        if any(row.gain is not None for row in found.rows):
            yield _picture(*(gains(found, dark=dark) for dark in (False, True)))
        yield (
            "<p class=dim>A gain is paired: an answer against the classical baseline of the same problem, both judged "
            "from the problem's own data. The interval holds the mean nine times in ten. A run is worth its gain less "
            "its seconds and dollars, by the policy's weights. Each problem counts one: of several rounds, their mean. "
            "It paid where all of that interval is above 0, and all of what it is worth more than classical backends, "
            "where they ran.</p>"
        )
        yield _rows(found)
    else:
        yield "<p>No backend has run anything.</p>"
    yield "<h2>How problems ended</h2>"
    if found.ends:
        yield _picture(*(endings(found, dark=dark) for dark in (False, True)))
        yield _table(
            (*found.ends[0].by, "status", "reason", ">problems"),
            [
                (*key, status, reason.replace("_", " "), f"{n:,}")
                for key, counts in by_group(found)
                for (status, reason), n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            ][:MOST_ROWS],
        )
    else:
        yield "<p>None has ended.</p>"
    if found.refused:
        yield "<h2>Jobs without a grant</h2>"
        yield _table(
            ("backend", "reason", ">jobs"),
            [(one.backend, one.reason.replace("_", " "), f"{one.count:,}") for one in found.refused],
        )
    yield "<h2>What was booked</h2>"
    if found.booked:
        yield _table(
            ("backend", ">jobs", ">dollars"),
            [(one.backend, f"{one.jobs:,}", dollars(one.micros)) for one in found.booked],
        )
    else:
        yield "<p>No job was charged for.</p>"
    yield _held(found)
    if found.calibration:
        yield "<h2>How good the estimates were</h2>"
        yield (
            "<p class=dim>What runs took over what was expected of them: 1 is right, 2 is twice as much. Of gains and "
            "of circuits' fidelities, by how much they were better than expected.</p>"
        )
        yield _table(
            ("backend", ">problems", ">seconds ×", ">cost ×", ">gain", ">fidelity"),
            [
                (
                    one.backend,
                    f"{one.problems:,}",
                    factor_text(one.seconds),
                    factor_text(one.cost),
                    _percent(one.gain),
                    _difference(one.fidelity),
                )
                for one in found.calibration
            ],
        )


def _figures(found: Findings) -> str:
    booked = sum(one.micros for one in found.booked)
    paid = sum(row.verdict == "paid" for row in found.rows)
    tried, kept = found.exploration, found.reservations
    figures = {
        "problems": f"{found.problems:,}",
        "after the deadline": f"{found.late:,}",
        "rows that paid": f"{paid} of {len(found.rows)}",
        "booked": dollars(booked),
        "spent to find out": dollars(tried.micros),
        "held now": dollars(kept.pending_micros),
    }
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in figures.items())}</dl>"


def _rows(found: Findings) -> str:
    """What more than two names tell apart has one column, else there would be no room for the figures."""
    head = (
        *(found.by if len(found.by) <= MOST_NAMES else [" · ".join(found.by)]),
        "verdict",
        ">gain",
        ">worth of a run",
        ">over classical",
        ">problems, runs",
        ">cost, seconds",
    )
    lines = [
        (
            *(row.by.values() if len(found.by) <= MOST_NAMES else [_joined(row.by.values())]),
            VERDICTS[row.verdict],
            _percent(row.gain),
            _dollars(row.worth),
            _dollars(row.over_classical),
            f"{row.problems:,}\n{row.runs:,}" + (f", {failed:,} failed" if (failed := row.runs - row.answered) else ""),
            f"{dollars_text(row.micros)}\n{duration(row.seconds)}",
        )
        for row in found.rows[:MOST_ROWS]
    ]
    return _table(head, lines, tones=[row.verdict for row in found.rows[:MOST_ROWS]])


def _joined(names: Iterable[str]) -> str:
    return " ·\n".join(shown(name, MOST_TEXT) for name in names)


def _held(found: Findings) -> str:
    kept, tried = found.reservations, found.exploration
    said = (
        f"<p>Runs to find out: {tried.runs:,}, of which {tried.jobs:,} paid for, {dollars(tried.micros)}. "
        f"Reserved: {dollars(kept.reserved)} for {jobs_text(kept.jobs)}, {dollars(kept.spent)} of it spent; "
        f"{kept.unused:,} took nothing; {kept.idle_dollar_hours:.3g} dollar-hours were held and not spent.</p>"
    )
    if not kept.held:
        return said
    lines = [
        (
            one.reservation,
            one.backend,
            one.tenant,
            one.state,
            dollars(one.micros),
            duration(one.seconds),
            duration(one.late),
        )
        for one in kept.held
    ]
    head = ("reservation", "backend", "tenant", "state", ">held", ">for", ">past its deadline")
    more = f"{jobs_text(kept.pending)} without an end; those held for the longest:"
    return f"{said}\n<p>{more}</p>\n{_table(head, lines)}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], tones: Sequence[str] = ()) -> str:
    """`>` before a heading: to the right. `tones`: the classes of verdicts."""
    right = [name.startswith(">") for name in head]
    heads = "".join(
        f'<th scope="col"{" class=n" if to_right else ""}>{escape(name.removeprefix(">"))}</th>'
        for name, to_right in zip(head, right, strict=True)
    )
    body = []
    for k, line in enumerate(lines):
        cells = []
        for place, (cell, to_right) in enumerate(zip(line, right, strict=True)):
            kind = "n" if to_right else tones[k] if head[place] == "verdict" else "w"
            of = escape(head[place].removeprefix(">"))
            cells.append(f'<td class="{kind}" data-of="{of}">{escape(_shown(cell))}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(head[0].removeprefix(">"))}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _shown(cell: str) -> str:
    """Of a few lines."""
    return "\n".join(shown(line, MOST_TEXT) for line in cell.split("\n", len(BY) - 1))


def _percent(of: Interval | None) -> str:
    return "" if of is None else f"{percent(of.mean)}\n{percent(of.low)} to {percent(of.high)}"


def _difference(of: Interval | None) -> str:
    return "" if of is None else f"{of.mean:+.3f}\n{of.low:+.3f} to {of.high:+.3f}"


def _dollars(of: Interval | None) -> str:
    return "" if of is None else f"{of.mean:+.3g} $\n{of.low:+.3g} to {of.high:+.3g} $"


def _picture(light: bytes, dark: bytes) -> str:
    return f'<figure class="light">{light.decode()}</figure>\n<figure class="dark">{dark.decode()}</figure>'
