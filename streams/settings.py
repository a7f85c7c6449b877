"""Settings: typed, from a TOML file and from the environment, in that order.

`qmosaic.toml` in the working directory, or the file that `QMOSAIC_SETTINGS` names. A variable
`QMOSAIC_<KEY>` sets a top-level key (`QMOSAIC_BROKER`), `QMOSAIC_<SECTION>__<KEY>` one of a section
(`QMOSAIC_LIMITS__VARIABLES=500`); values are TOML (`true`, `0.5`, `["a"]`) or plain text.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from qmosaic.backends.clouds.job import Waits
from qmosaic.backends.registry import innermost
from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.text import choose
from qmosaic.processors.admit import Defaults
from qmosaic.processors.control.policy import (
    DEFAULT_PREFERENCE,
    DEFAULT_RULES,
    EXPLORE,
    Attempts,
    OfTenant,
    Rule,
    Share,
    Special,
)
from qmosaic.processors.control.policy_file import MOST_BYTES, read_policy
from qmosaic.processors.control.rates import Rate
from qmosaic.processors.control.worth import Worth
from qmosaic.processors.families.base import Limits

EMBEDDED = "embedded"
_OF_BACKENDS = ("QMOSAIC_AQT_", "QMOSAIC_GOOGLE_", "QMOSAIC_IONQ_")  # keys and addresses: never in a setting
_NOT_OURS = frozenset({"QMOSAIC_SETTINGS", "QMOSAIC_INSTANCES", "QMOSAIC_TEST_BROKER", "QMOSAIC_BELL", "QMOSAIC_WATCH"})
SECRETS = frozenset({"sasl_password"})


class Security(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to speak to a broker that asks who you are."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None


class Topics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How topics are made, and written. `partitions` bounds how many workers of a stage can share the work."""

    partitions: int = 4
    replication: int = 1
    retention_seconds: int = 7 * 86_400
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"


class ReduceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`share` is the part of the time left that the classical search may use, `max_seconds` its bound."""

    max_kernel_qubits: int = 16
    layers: int = 2
    share: float = 0.4
    max_seconds: float = 30.0


class RouteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy: rules in order, which backend of a target goes first, the most candidates of a kernel, what is
    special for a tenant or a family, what share explores, what a run is worth. `policy`: the file that says all of
    it."""

    rules: tuple[Rule, ...] = DEFAULT_RULES
    preference: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DEFAULT_PREFERENCE))
    attempts: Attempts = 1
    tenants: dict[str, OfTenant] = {}
    families: dict[str, Special] = {}
    explore: Share = EXPLORE
    worth: Worth = Worth()
    policy: str = ""
    stale_seconds: float = 15.0


class ExecuteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backends by target, the processes of a worker whose backend holds Python's lock, how long a run may take, and the
    bytes of results that a worker keeps for problems that take them again."""

    backends: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DEFAULT_PREFERENCE))
    processes: int = 1
    max_seconds: float = 300.0
    cache_bytes: int = 32 * 1024 * 1024


class PaidSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backends whose runs cost money, by name; `limits`: bounds of their waits, in seconds; `max_cost_usd`: what one
    job may cost by its estimate, 0 for no limit; `rates`: by name, without wrappers, how many jobs one takes in a
    time."""

    backends: tuple[str, ...] = ()
    limits: Waits = Waits()
    max_cost_usd: float = 0.0
    rates: dict[str, Rate] = {}


class BesideSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What admitting or judging one large problem may take, in a process beside encode and verify: memory, and seconds
    of a processor. Beyond, it is refused, or its incumbent goes out."""

    memory_bytes: int = 384 * 1024 * 1024
    seconds: float = 10.0


class VerifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`margin_seconds` before the deadline the fallback is written; a repeated id is known that long. `held_bytes` of
    large open problems are held in memory, the others in a file."""

    margin_seconds: float = 0.25
    repeat_window_seconds: float = 3600.0
    repeat_window_ids: int = 200_000
    held_bytes: int = 32 * 1024 * 1024


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where metrics and health of a supervisor's workers are served over HTTP; port 0: nowhere."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class PageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The live page: whether `qmosaic up` serves it, on which port (0: a free one), and the address of a Jaeger that
    traces are linked to."""

    enabled: bool = True
    port: int = 0
    traces: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. `broker`: `embedded`, or HOST:PORT,… of a Kafka.

    `embedded_port`: of the embedded broker, 0 for a free one at each start. `environment`: by stage, as in `--stages`,
    variables that its workers get besides the usual ones, `*` for any ending.
    """

    broker: str = EMBEDDED
    embedded_port: int = 0
    namespace: str = ""
    data_dir: str = ".qmosaic"
    cache_dir: str = ""
    otlp_endpoint: str | None = None
    spans_dir: str | None = None
    log_level: str = "WARNING"
    log_bytes: int = 5 * 1024 * 1024
    log_format: Literal["console", "json"] = "console"
    environment: dict[str, tuple[str, ...]] = {}
    security: Security = Security()
    topics: Topics = Topics()
    limits: Limits = Limits()
    defaults: Defaults = Defaults()
    reduce: ReduceSettings = ReduceSettings()
    route: RouteSettings = RouteSettings()
    execute: ExecuteSettings = ExecuteSettings()
    paid: PaidSettings = PaidSettings()
    verify: VerifySettings = VerifySettings()
    beside: BesideSettings = BesideSettings()
    metrics: MetricsSettings = MetricsSettings()
    page: PageSettings = PageSettings()

    @property
    def compiled_programs(self) -> Path:
        """Where compiled JAX programs are kept between runs."""
        base = (
            Path(self.cache_dir)
            if self.cache_dir
            else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        )
        return base / "qmosaic" / "programs"

    @property
    def usual_programs(self) -> str:
        """What is compiled before it is asked for depends on these."""
        names = sorted(filter(needs_programs, (name for names in self.execute.backends.values() for name in names)))
        return f"{self.reduce.layers} layers; {', '.join(names)}"

    def masked(self) -> dict[str, Any]:
        """For printing: plain values, secrets masked."""
        masked: dict[str, Any] = _masked(msgspec.to_builtins(self))
        return masked


def needs_programs(backend: str) -> bool:
    """Whether a backend runs programs that have to be compiled once."""
    return backend.startswith(("jax.", "bifurcation"))


def load(environ: Mapping[str, str] | None = None, path: Path | None = None) -> Settings:
    """Read the file, then the environment. Raises SettingsError that names the key and what was expected."""
    env = os.environ if environ is None else environ
    named = env.get("QMOSAIC_SETTINGS")
    file = path or (Path(named) if named else Path("qmosaic.toml"))
    values: dict[str, Any] = {}
    if path or named or file.exists():
        try:
            values = tomllib.loads(file.read_text())
        except OSError as error:
            raise SettingsError(f"cannot read {file}: {error.strerror}", remedy="Check QMOSAIC_SETTINGS.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(str(error), place=str(file), remedy="Mend the TOML.") from None
    for name, text in env.items():
        if name.startswith("QMOSAIC_") and name not in _NOT_OURS and not name.startswith(_OF_BACKENDS):
            _put(values, name.removeprefix("QMOSAIC_").lower().split("__"), text)
    if "order" in values:
        raise SettingsError(
            "tenants' shares are the policy's to say",
            place="order.weights",
            remedy="Write `weight = 3.0` under [route.tenants.NAME], or under [tenants.NAME] of the policy's file.",
        )
    try:
        return _with_policy(_checked(msgspec.convert(values, Settings, strict=False)))
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise SettingsError(
            message, place=place.strip("`").removeprefix("$."), remedy="See `qmosaic settings` for every key."
        ) from None


def _checked(settings: Settings) -> Settings:
    """The settings, where each rate is one of a backend. Raises SettingsError."""
    names = sorted(set(map(innermost, settings.paid.backends)))
    for name in settings.paid.rates:
        if name not in names:
            message = f"{name!r} is none of paid.backends, without their wrappers"
            raise SettingsError(message, place=f"paid.rates.{name}", remedy=choose(name, names))
    return settings


def _with_policy(settings: Settings) -> Settings:
    """The settings with what the policy's file says, read now: workers get it with them. Raises SettingsError."""
    if not settings.route.policy:
        return settings
    try:
        with open(settings.route.policy, encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {settings.route.policy}: {error}", place="route.policy") from None
    said = read_policy(text, settings.route.policy)
    route = msgspec.structs.replace(
        settings.route,
        rules=said.rules,
        preference=said.preference,
        attempts=said.attempts,
        tenants=said.tenants,
        families=said.families,
        explore=said.explore,
        worth=said.worth,
    )
    return msgspec.structs.replace(settings, route=route)


def _put(values: dict[str, Any], keys: list[str], text: str) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        values = inner
    try:
        values[keys[-1]] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[keys[-1]] = text


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "***" if k in SECRETS and v else _masked(v) for k, v in value.items()}
    return [_masked(v) for v in value] if isinstance(value, list | tuple) else value
