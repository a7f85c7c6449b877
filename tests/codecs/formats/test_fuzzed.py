"""Files that fuzzers found, and their kin."""

from __future__ import annotations

import pytest

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.registry import FORMATS, read

LONG = "1" * 500_000


def refused(text: str, name: str) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read(text.encode(), "x", name)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"1\n2 1\n1 2 {LONG}x\n", "bqp"),
        (f"2 1\n1 2 {LONG}_1\n", "rudy"),
        (f"# vartype=SPIN\n0 1 {LONG}.{LONG}x\n", "coo"),
        (f"p qubo 0 2 0 1\n0 1 {LONG}e{LONG}x\n", "qbsolv"),
        (f"2\n{LONG}x .1\n.1 .1\n1 1 1\n", "port"),
        (f"1\n\nH {LONG}x 0 0\n", "xyz"),
        (f"1\n\nH 0 -{LONG}.{LONG}e 0\n", "xyz"),
    ],
)
def test_a_number_of_many_digits_is_looked_at_once(text: str, name: str) -> None:
    """In one pass: a pattern that tries every way to split the digits would be at it for an hour."""
    assert len(refused(text, name).message) <= 400


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("blank", ["\x1c", "\u00a0", "\u2003\u2028", "\x85 \n", "\x1f\r\n\x0b", "\ufeff\x1d", "\u3000"])
def test_a_file_of_what_is_blank_only_in_unicode_is_empty(name: str, blank: str) -> None:
    assert "empty file" in refused(blank, name).message


def lists(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "document",
    [
        '{"terms": [%s]}',
        '{"family": "maxcut", "problem": {"edges": %s}}',
        '{"family": "maxcut", "problem": {}, "labels": {"a": {"b": %s}}}',
        '[{"family": "maxcut", "problem": {}}, {"family": "maxcut", "problem": {"a": %s}}]',
        '{"family": "maxcut", "problem": {}}\n{"family": "maxcut", "problem": {"a": %s}}',
    ],
)
@pytest.mark.parametrize("depth", [101, 300, 900])
def test_json_that_lies_too_deep_to_be_sent_is_refused(document: str, depth: int) -> None:
    """orjson reads 1,024 levels and writes 254."""
    assert "100 levels" in refused(document % lists(depth), "json").message


def test_json_of_many_levels_is_read() -> None:
    assert read(b'{"family": "maxcut", "problem": {"a": %b}}' % lists(90).encode(), "x")
    for text in (f'"{lists(200)}"', f'["{lists(200)}"]', f'{{"a": "{lists(200)}"}}', "[1, 2]", "1", "{}" * 200):
        assert "levels" not in refused(text, "json").message
