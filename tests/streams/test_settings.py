"""Settings: file, then environment, typed, masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.hops.in_force import policy_of
from qmosaic.streams.settings import Settings, load


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "qmosaic.toml"
    file.write_text('broker = "kafka:9092"\n[limits]\nvariables = 7\ncouplings = 8\n[topics]\npartitions = 12\n')
    environ = {"QMOSAIC_LIMITS__VARIABLES": "9", "QMOSAIC_OTLP_ENDPOINT": "http://127.0.0.1:4318", "PATH": "/bin"}
    settings = load(environ, file)
    assert (settings.broker, settings.limits.variables, settings.limits.couplings) == ("kafka:9092", 9, 8)
    assert (settings.topics.partitions, settings.otlp_endpoint) == (12, "http://127.0.0.1:4318")


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({}) == Settings()


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"QMOSAIC_LIMITS__VARIABLES": "many"}, "limits.variables"),
        ({"QMOSAIC_BROKEN": "1"}, ""),
        ({"QMOSAIC_SECURITY__PROTOCOL": "TELEPATHY"}, "security.protocol"),
        ({"QMOSAIC_ORDER__WEIGHTS": "{acme = 2.0}"}, "order.weights"),
        ({"QMOSAIC_ROUTE__TENANTS": "{acme = {weight = 0.0}}"}, "route.tenants[...].weight"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], place: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.touch()
    with pytest.raises(SettingsError) as caught:
        load(environ, file)
    assert caught.value.place == place
    assert caught.value.remedy


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load({"QMOSAIC_SETTINGS": str(tmp_path / "absent.toml")})


def test_rules_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "qmosaic.toml"
    file.write_text('[[route.rules]]\nname = "all"\ntarget = "gpu"\nmax_qubits = 5\n')
    (rule,) = load({}, file).route.rules
    assert (rule.name, rule.target, rule.max_qubits) == ("all", "gpu", 5)


def test_secrets_are_masked(tmp_path: Path) -> None:
    settings = load({"QMOSAIC_SECURITY__SASL_PASSWORD": "hush", "QMOSAIC_SECURITY__SASL_USERNAME": "me"})
    assert settings.security.sasl_password == "hush"
    assert settings.masked()["security"]["sasl_password"] == "***"
    assert "hush" not in str(settings.masked())


def test_shares_of_tenants_are_the_policys_to_say(tmp_path: Path) -> None:
    file = tmp_path / "qmosaic.toml"
    file.write_text("[order.weights]\nacme = 3.0\n")
    with pytest.raises(SettingsError, match="are the policy's to say") as caught:
        load({}, file)
    assert "[route.tenants.NAME]" in caught.value.remedy
    file.write_text("[route.tenants.acme]\nweight = 3.0\n")
    assert policy_of(load({}, file)).weight_of("acme/chem") == 3.0
