"""SVG as a page may take it in: matplotlib's, without what is not needed, and nothing that a strict page refuses.

No document type and no style sheet, presentation attributes instead of inline styles (a Content-Security-Policy forbids
those), ids only where something refers to them, a title for whoever cannot see it.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
FAMILY = "font-family"

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", LINK)


def cleaned(data: bytes, title: str, fonts: str) -> bytes:
    """An `<svg>` element by itself. `data` is what matplotlib wrote, `fonts` the families of all its texts."""
    root = ElementTree.fromstring(data)  # noqa: S314 - it was written here, a line before
    used: set[str] = set()
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{SVG}}}metadata" or (child.tag == f"{{{SVG}}}defs" and not _kept(child)):
                parent.remove(child)
    for element in root.iter():
        _styled(element)
        for name, text in element.attrib.items():
            used.update(_REFERENCE.findall(text))
            if name == f"{{{LINK}}}href" and text.startswith("#"):
                used.add(text[1:])
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    root.attrib |= {FAMILY: fonts, "stroke-linejoin": "round", "role": "img"}
    said = ElementTree.Element(f"{{{SVG}}}title")
    said.text = title
    root.insert(0, said)
    return ElementTree.tostring(root, encoding="unicode").encode()


def _kept(defs: ElementTree.Element) -> bool:
    """Whether definitions hold more than a style sheet; that is taken out."""
    for style in defs.findall(f"{{{SVG}}}style"):
        defs.remove(style)
    return len(defs) > 0


def _styled(element: ElementTree.Element) -> None:
    """Its inline style as attributes."""
    for part in element.attrib.pop("style", "").split(";"):
        name, colon, text = part.partition(":")
        if colon and name.strip() != FAMILY:
            element.set(name.strip(), text.strip())
