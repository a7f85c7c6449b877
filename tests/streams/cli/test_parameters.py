"""`--set KEY=VALUE`: typed by the family, exact about what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.problems import FAMILIES
from qmosaic.streams.cli.parameters import fields_of, parameters


@pytest.mark.parametrize(
    ("family", "given", "expected"),
    [
        ("maxcut", ["nodes=5"], {"nodes": 5}),
        ("maxcut", ['nodes=["a", "b"]', "edges=[[0, 1]]"], {"nodes": ["a", "b"], "edges": [[0, 1]]}),
        ("ising", ["offset=0.5"], {"offset": 0.5}),
        ("ising", ["offset=1"], {"offset": 1.0}),
        ("somebody's", ["a=b=c", "d=[1]"], {"a": "b=c", "d": [1]}),
    ],
)
def test_values(family: str, given: list[str], expected: dict[str, Any]) -> None:
    assert parameters(family, given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nodes", "Write --set KEY=VALUE"),
        ("=3", "Write --set KEY=VALUE"),
        ("colour=red", "Known ones: edges, nodes"),
        ("sense=min", "Known ones: edges, nodes"),
        ("nodes=-1", "nodes: Expected `int` >= 0"),
        ("edges=7", "edges: Expected `array`"),
    ],
)
def test_what_is_wrong_is_said(given: str, message: str) -> None:
    with pytest.raises(SettingsError, match="invalid_settings") as raised:
        parameters("maxcut", [given])
    assert message in str(raised.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_described(family: str) -> None:
    fields = fields_of(FAMILIES[family])
    assert all(field["description"] and field["type"] != "anything" for field in fields)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "9" * 5000, "1\nother = 2", "nan", "-inf", "[nan]", str(2**70), "{a = inf}", "1 # x\nb = 1"]
)
def test_what_json_has_not_stays_text(text: str) -> None:
    assert parameters("of another package", [f"x={text}"]) == {"x": text}


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "9" * 5000])
def test_what_json_has_not_is_no_number(text: str) -> None:
    with pytest.raises(SettingsError):
        parameters("portfolio", [f"risk_aversion={text}"])
