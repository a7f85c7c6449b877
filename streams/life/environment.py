"""What each process of ours gets of the environment: what it needs, and no more.

A worker parses what strangers send; a key that it does not have cannot be taken from it. Our own settings are not
among it: they come down the lifeline. Some of what all get can hold a secret: `OTEL_EXPORTER_OTLP_HEADERS` and a
proxy's address with a password in it, since every worker exports its spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.kafka import pacing
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import PAID, stages
from qmosaic.streams.watch import serving

EVERYWHERE = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *("VIRTUAL_ENV", "PYTHON*", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*"),
    *("GLIBC_TUNABLES", "MALLOC_*", "PYSCF_TMPDIR", "PYSCF_MAX_MEMORY"),
    *("OMP_*", "KMP_*", "GOMP_*", "OPENBLAS_*", "GOTO_*", "BLIS_*", "MKL_*", "VECLIB_*", "NUMEXPR_*"),
    *("JAX_*", "XLA_*", "TF_*", "TPU_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*"),
    *("OTEL_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("COVERAGE_*", "COV_CORE_*"),  # measured tests: the one thing here that is not for work
)
"""Names of variables, `*` for any ending."""
OF_VENDORS = (
    *("QMOSAIC_AQT_*", "QMOSAIC_GOOGLE_*", "QMOSAIC_IONQ_*"),
    *("GOOGLE_*", "CLOUDSDK_*", "GCE_METADATA_*", "GRPC_*"),  # Google's default credentials
)
"""Keys, addresses and prices: of execute.paid alone, as no other stage takes a backend that is paid."""
QUIET = "ignore:resource_tracker:UserWarning"
"""Python's warning that a process ended without closing its semaphores: ours end that way, and it closes them."""


def of_process(environ: Mapping[str, str]) -> dict[str, str]:
    """What any process gets, the embedded broker too."""
    return _chosen(environ, EVERYWHERE)


def of_worker(environ: Mapping[str, str], stage: str, settings: Settings) -> dict[str, str]:
    """What the worker of a stage gets, and with it the processes it starts. Raises SettingsError."""
    try:
        more = [name for key, names in settings.environment.items() if stage in stages(key) for name in names]
    except KeyError as error:
        raise SettingsError(f"no stage is called {error}", place="environment", remedy="See `--stages`.") from None
    chosen = _chosen(
        environ, (*EVERYWHERE, pacing.VARIABLE, serving.VARIABLE, *(OF_VENDORS if stage == PAID else ()), *more)
    )
    warnings = chosen.get("PYTHONWARNINGS")
    return {**chosen, "PYTHONWARNINGS": f"{warnings},{QUIET}" if warnings else QUIET}


def of_all(environ: Mapping[str, str]) -> dict[str, str]:
    """What the workers get of whom `environment` says nothing, `execute.paid` apart."""
    return of_worker(environ, "encode", Settings())


def _chosen(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if any(fnmatchcase(key, name) for name in names)}
