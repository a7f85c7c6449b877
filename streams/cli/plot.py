"""`--plot FILE`: pictures of what came of problems. What could be wrong with FILE is said before anything is solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.public import Outcome, Problem, Rejection
from qmosaic.codecs.text import choose, shown
from qmosaic.streams.cli.common import USAGE, fail, say
from qmosaic.streams.cli.files import new_file, write_new
from qmosaic.streams.observe.answers import answer_of
from qmosaic.streams.observe.words import label_of

ENDINGS: dict[str, Literal["svg", "png", "html"]] = {".svg": "svg", ".png": "png", ".html": "html"}
MOST = 50
"""Pictures of one command."""
PLACE = "--plot"
STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem;background:#fff;color:#1d232c}
svg{width:100%;height:auto;border:1px solid #d3d9e0;border-radius:8px}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
.dark{display:none}
@media (prefers-color-scheme:dark){
body{background:#0c1015;color:#e9edf2}
svg{border-color:#3a4450}
.light{display:none}
.dark{display:block}
}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Plot:
    """Where the pictures go: one file, or of several problems `FILE-1`, `FILE-2`, … in their order; one page of all."""

    path: Path
    kind: Literal["svg", "png", "html"]
    problems: int

    @property
    def paths(self) -> list[Path]:
        """The files, one a problem, or the page."""
        if self.kind == "html" or self.problems == 1:
            return [self.path]
        stem, ending = self.path.stem, self.path.suffix
        return [self.path.with_name(f"{stem}-{k}{ending}") for k in range(1, self.problems + 1)]


def plot_of(path: Path | None, problems: int) -> Plot | None:
    """Where pictures of so many problems go; exits with `USAGE` where they cannot go there."""
    if path is None:
        return None
    try:
        return _checked(path, problems)
    except SettingsError as error:
        fail(error, USAGE)


def _checked(path: Path, problems: int) -> Plot:
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        message = f"no picture is a {path.suffix!r} file" if path.suffix else f"{path} has no ending"
        raise SettingsError(message, place=PLACE, remedy=choose(path.suffix.lower(), ENDINGS))
    if problems > MOST:
        message = f"{problems} problems, pictures are drawn of {MOST} at most"
        raise SettingsError(message, place=PLACE, remedy="Send fewer files at once.")
    if find_spec("matplotlib") is None:
        raise SettingsError("matplotlib is not installed", place=PLACE, remedy="Run: pip install 'qmosaic[plot]'.")
    plot = Plot(path, kind, problems)
    for each in plot.paths:
        new_file(each, PLACE)
    return plot


def write_pictures(plot: Plot | None, events: Sequence[dict[str, Any]], results: Sequence[Outcome | Rejection]) -> None:
    """Draw and write them; what was rejected has none. Takes a second or so for each."""
    if plot is None:
        return
    found = {one.problem_id: one for one in results}
    pairs = [(event, found[event["id"]]) for event in events if event["id"] in found]
    try:
        if plot.kind == "html":
            _write(plot.path, page([(_problem(event), one) for event, one in pairs]))
            return
        paths = dict(zip((event["id"] for event in events), plot.paths, strict=True))
        for event, one in pairs:
            if isinstance(one, Rejection):
                say(f"note: no picture of {label_of(one)}, which was rejected")
            elif (problem := _problem(event)) is not None:
                _write(paths[event["id"]], _drawn(problem, one, plot.kind))
    except OSError as error:
        fail(SettingsError(f"cannot write {error.filename}: {error.strerror}", place=PLACE))


def _problem(event: dict[str, Any]) -> Problem | None:
    try:
        return msgspec.convert(event, Problem)
    except msgspec.ValidationError:  # whoever answered it, it is no problem
        return None


def _drawn(problem: Problem, outcome: Outcome, kind: Literal["svg", "png"]) -> bytes:
    from qmosaic.streams.pictures.draw import draw

    return draw(problem, outcome, format=kind)


def _write(path: Path, data: bytes) -> None:
    write_new(path, data)
    say(f"wrote {path}")


def page(pairs: Sequence[tuple[Problem | None, Outcome | Rejection]]) -> bytes:
    """An HTML page of pictures and answers, by itself: it loads nothing and runs nothing."""
    parts = [_part(problem, one) for problem, one in pairs]
    title = escape(label_of(pairs[0][1]) if len(pairs) == 1 else f"{len(pairs)} problems")
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · qmosaic</title><style>{STYLE}</style></head><body>\n"
    )
    return (head + "\n".join(parts) + "\n</body></html>\n").encode()


def _part(problem: Problem | None, one: Outcome | Rejection) -> str:
    from qmosaic.streams.pictures.draw import draw

    if isinstance(one, Rejection) or problem is None:
        said = f"{one.place}: {one.message}. {one.remedy}" if isinstance(one, Rejection) else "no problem"
        return f"<h2>{escape(label_of(one))}</h2>\n<p>Rejected: {escape(shown(said))}</p>"
    pictures = "".join(
        f'<div class="{"dark" if dark else "light"}">{draw(problem, one, dark=dark).decode()}</div>\n'
        for dark in (False, True)
    )
    answer = "\n".join(answer_of(one))
    return f"<section>\n{pictures}<pre>{escape(answer)}</pre>\n</section>"
