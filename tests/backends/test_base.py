"""The boundary: what a Result refuses and how raw samples become one."""

import numpy as np
import pytest

from qmosaic.backends.base import Result
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import SpinPolynomial

ONE = np.zeros((1, 2), np.uint8)


@pytest.mark.parametrize(
    ("samples", "counts", "energies", "message"),
    [
        (ONE.astype(np.int8), np.ones(1, np.int64), np.zeros(1), r"samples: expected uint8\[1, 2\], got int8"),
        (ONE, np.ones(2, np.int64), np.zeros(1), r"counts: expected int64\[1\], got int64\[2\]"),
        (ONE, np.ones(1, np.int64), np.zeros(1, np.float32), r"energies: expected float64\[1\], got float32"),
        (ONE[:0], np.ones(0, np.int64), np.zeros(0), "at least one sample"),
    ],
)
def test_results_are_checked(samples: np.ndarray, counts: np.ndarray, energies: np.ndarray, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        Result(samples, counts, energies, work_seconds=0.0)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 70])
def test_equal_samples_are_merged(n: int) -> None:
    rng = np.random.default_rng(n)
    kernel = SpinPolynomial.of(n, h=rng.normal(size=n), offset=2.0)
    raw = rng.integers(2, size=(5, n), dtype=np.uint8)[rng.integers(5, size=40)]
    result = Result.of_samples(kernel, raw, 0.0)
    expected, counts = np.unique(raw, axis=0, return_counts=True)
    np.testing.assert_array_equal(result.samples, expected)
    np.testing.assert_array_equal(result.counts, counts)
    np.testing.assert_allclose(result.energies, kernel.energy(expected))
