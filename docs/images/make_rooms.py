"""Make rooms.svg anew, from the imports of the code: each box imports those that an arrow leads to, and no others.

.venv/bin/python docs/images/make_rooms.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_name("rooms.svg")
FOLDERS = ("streams", "processors", "backends", "codecs")
WIDTH, ROW, BOX, TOP = 760, 58, 26, 30
STYLE = (
    "text{font:13px sans-serif;fill:#222}.folder{font-weight:bold}"
    ".room{fill:#fff;stroke:#558}.line{fill:none;stroke:#99a}"
)
BANDS = {"streams": "#eef3fb", "processors": "#eef8ee", "backends": "#fdf4e7", "codecs": "#f6eef8"}


def room_of(module: str) -> tuple[str, str] | None:
    """`qmosaic.streams.kafka.tail` to `streams`, `kafka`; a module that is in no room is one by itself."""
    parts = module.split(".")
    return (parts[1], parts[2]) if len(parts) > 2 and parts[1] in FOLDERS else None


def imported(path: Path) -> Iterator[str]:
    """Names of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("qmosaic"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms() -> dict[str, dict[str, set[str]]]:
    """Folder → room → the rooms of its folder that it imports."""
    found: dict[str, dict[str, set[str]]] = {folder: {} for folder in FOLDERS}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            if inside[0] == "__init__":
                continue
            uses = found[folder].setdefault(inside[0], set())
            for name in imported(path):
                room = room_of(name)
                if room is not None and room[0] == folder and room[1] != inside[0]:
                    uses.add(room[1])
    for folder, graph in found.items():
        there = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
        for uses in graph.values():
            uses &= there
    found["processors"]["spins"].discard("families")  # its interface alone: see the contract in pyproject.toml
    return found


def levels(graph: dict[str, set[str]]) -> list[list[str]]:
    """Rooms in rows: each above all that it imports."""
    depth: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in depth:
            depth[room] = 1 + max((of(other) for other in graph[room]), default=-1)
        return depth[room]

    most = max(map(of, graph))
    return [sorted(room for room in graph if depth[room] == level) for level in range(most, -1, -1)]


def direct(graph: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Arrows without those that others imply."""

    def reach(room: str) -> set[str]:
        return set().union(*({other} | reach(other) for other in graph[room]))

    for room, uses in graph.items():
        implied = set().union(*(reach(other) for other in uses))
        yield from ((room, other) for other in sorted(uses - implied))


def drawn() -> str:
    """The picture."""
    out, y = list[str](), 10
    for folder, graph in rooms().items():
        rows = levels(graph)
        height = TOP + ROW * (len(rows) - 1) + BOX + 14
        out.append(f'<rect x="8" y="{y}" width="{WIDTH - 16}" height="{height}" rx="8" fill="{BANDS[folder]}"/>')
        out.append(f'<text class="folder" x="20" y="{y + 20}">{folder}/</text>')
        at: dict[str, tuple[float, float, float]] = {}
        for level, row in enumerate(rows):
            widths = [len(room) * 7.6 + 22 for room in row]
            x = (WIDTH - sum(widths) - 18 * (len(row) - 1)) / 2
            for room, width in zip(row, widths, strict=True):
                at[room] = x, y + TOP + ROW * level, width
                x += width + 18
        for room, other in direct(graph):
            x1, y1, w1 = at[room]
            x2, y2, w2 = at[other]
            a, b, c, d = x1 + w1 / 2, y1 + BOX, x2 + w2 / 2, y2 - 2
            bend = (d - b) / 2
            path = f"M{a:.0f} {b} C{a:.0f} {b + bend:.0f} {c:.0f} {d - bend:.0f} {c:.0f} {d}"
            out.append(f'<path class="line" d="{path}" marker-end="url(#end)"/>')
        for room, (x, top, width) in at.items():
            out.append(f'<rect class="room" x="{x:.0f}" y="{top}" width="{width:.0f}" height="{BOX}" rx="5"/>')
            out.append(f'<text x="{x + width / 2:.0f}" y="{top + 18}" text-anchor="middle">{escape(room)}</text>')
        y += height + 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}"><style>{STYLE}</style>'
    tip = (
        '<defs><marker id="end" markerWidth="6" markerHeight="6" refX="5" refY="3" orient="auto">'
        '<path d="M0 0 L6 3 L0 6 z" fill="#99a"/></marker></defs>'
    )
    return "\n".join([head, tip, f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>', *out, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
