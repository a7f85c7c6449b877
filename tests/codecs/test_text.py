"""Text of strangers: nothing in it reaches a terminal as an order."""

from __future__ import annotations

import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.text import shown, shown_json

ANYTHING = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode 漢字 🙂", "plain, ünïcode 漢字 🙂"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\nb\rc\td\0", r"a\nb\rc\td\x00"),
        ("abc\u202etxt.exe\u2066\u2069", r"abc\u202etxt.exe\u2066\u2069"),
        ("\u200e\u200f\u200b\ufeff\u2028", r"\u200e\u200f\u200b\ufeff\u2028"),
        ("\ud800x\U000e0041", r"\ud800x\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(ANYTHING, st.none() | st.integers(1, 20))
def test_whatever_comes(text: str, most: int | None) -> None:
    said = shown(text, most)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in said)
    said.encode()
    assert most is None or len(said) <= 10 * most
    assert shown(said) == said


@given(st.dictionaries(st.text(), st.text()))
def test_json_stays_what_it_says(value: dict[str, str]) -> None:
    said = shown_json(orjson.dumps(value).decode())
    assert said.isprintable()
    assert orjson.loads(said) == value
