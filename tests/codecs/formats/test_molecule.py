"""FCIDUMP, XYZ and Pauli lists: what is in them is what the family is asked, and errors say where."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.registry import detect, read

FCIDUMP = """ &FCI NORB=   2,NELEC= 2,MS2=0,
  ORBSYM=1,1,
  ISYM=1,
 &END
 0.6757101548035163    1    1    1    1
 0.1809311997842314D+00    2    1    2    1
 -1.25d0   1    1  0  0
 0.5   1    0  0  0
 0.7199689944489797  0  0  0  0
"""
XYZ = "3\nwater\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.471\nH 0.0 -0.757 -0.471\n"
PAULI = {
    "name": "h2",
    "n_qubits": 2,
    "n_electrons": 2,
    "mapping": "jordan_wigner",
    "convention": "leftmost character is qubit 0",
    "terms": [["II", -0.3], ["ZI", 0.4]],
}


def payload(text: str | bytes, name: str) -> Any:
    (found,) = read(text.encode() if isinstance(text, str) else text, name)
    assert (found.family, found.sense) == ("molecule", "min")
    return found.problem


def test_fcidump() -> None:
    assert detect(FCIDUMP.encode(), "x") == "fcidump"
    assert payload(FCIDUMP, "x") == {
        "integrals": {
            "orbitals": 2,
            "one": [[0, 0, -1.25]],
            "two": [[0, 0, 0, 0, 0.6757101548035163], [1, 0, 1, 0, 0.1809311997842314]],
            "core": 0.7199689944489797,
        },
        "electrons": 2,
        "multiplicity": 1,
    }


@pytest.mark.parametrize(
    "header",
    [
        "&FCI NORB=3, NELEC=3, MS2=1, /\n",
        "&fci norb=3,nelec=3,ms2=1,\n orbsym=1,2,3\n /\n",
        "$FCI NORB=3\n NELEC=3\n MS2=-1\n UHF=.FALSE.\n$END\n",
        "&FCI NORB=3,NELEC=3,MS2=1,ORBSYM=3*1,ISYM=1,IUHF=0 &END\n",
    ],
)
def test_headers(header: str) -> None:
    found = payload(header + "1.0 3 3 0 0\n", "x.fcidump")
    assert (found["electrons"], found["multiplicity"], found["integrals"]["orbitals"]) == (3, 2, 3)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("&FCI NORB=2,NELEC=2\n1.0 1 1 0 0\n", 1, "from &FCI to"),
        ("&FCI NELEC=2 &END\n", 1, "NORB as an integer, got none"),
        ("&FCI NORB=2,\nNELEC=two &END\n", 2, "NELEC as an integer, got 'two'"),
        ("&FCI NORB=0,NELEC=2 &END\n", 1, "NORB from 1 to 1000"),
        ("&FCI NORB=2,NELEC=2,\nIUHF=1 &END\n", 2, "unrestricted"),
        ("&FCI NORB=2,NELEC=2 &END\n1.0 1 1 0\n", 2, "'1.0 1 1 0'"),
        ("&FCI NORB=2,NELEC=2 &END\n\n(1.0,0.0) 1 1 0 0\n", 3, "real and finite"),
        ("&FCI NORB=2,NELEC=2 &END\nnan 1 1 0 0\n", 2, "real and finite"),
        ("&FCI NORB=2,NELEC=2\n&END\n1.0 1 3 0 0\n", 3, "from 1 to NORB=2"),
        ("&FCI NORB=2,NELEC=2 &END\n1.0 1 1 1 0\n", 2, "i j k l"),
    ],
)
def test_fcidump_errors(text: str, line: int, message: str) -> None:
    with pytest.raises(FormatError, match="expected") as caught:
        read(text.encode(), "x.fcidump")
    assert caught.value.place == f"x.fcidump:{line}"
    assert message in caught.value.message


def test_xyz() -> None:
    assert detect(XYZ.encode(), "x.xyz") == "xyz"
    atoms = payload(XYZ, "water.xyz")["geometry"]
    assert atoms == [["O", 0.0, 0.0, 0.117], ["H", 0.0, 0.757, -0.471], ["H", 0.0, -0.757, -0.471]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n\nH 0 0 0\n", 1),
        ("2\n\nH 0 0 0\nH 0 0\n", 4),
        ("2\n\nH 0 0 0\nH 0 0 inf\n", 4),
        ("3\n\nH 0 0 0\nH 0 0 1\n", 5),
        ("1\n\nH 0 0 0\nH 0 0 1\n", 4),
        ("0\n\n", 1),
    ],
)
def test_xyz_errors(text: str, line: int) -> None:
    with pytest.raises(FormatError) as caught:
        read(text.encode(), "x.xyz")
    assert caught.value.place == f"x.xyz:{line}"


def test_pauli_lists() -> None:
    terms = PAULI["terms"]
    assert payload(orjson.dumps(PAULI), "h2.pauli.json") == {"hamiltonian": terms, "qubits": 2, "electrons": 2}
    other = {**PAULI, "mapping": "parity (2 qubits removed)", "multiplicity": 1}
    assert payload(orjson.dumps(other), "h2.pauli.json") == {"hamiltonian": terms, "qubits": 2}
    assert payload(orjson.dumps({"terms": terms}), "h2.json") == {"hamiltonian": terms}


@pytest.mark.parametrize("change", [{"terms": 3}, {"n_qubits": "2"}, {"n_electrons": 1.5}, {"terms": ["II"]}])
def test_pauli_errors(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="Expected"):
        read(orjson.dumps({**PAULI, **change}), "h2.json")


@given(st.text(" \n,=/&ENDFCINORB0123456789.-+d", max_size=80))
def test_whatever_follows_a_header_is_read_or_an_error(text: str) -> None:
    with suppress(FormatError):
        read(f"&FCI {text}".encode(), "x.fcidump")
