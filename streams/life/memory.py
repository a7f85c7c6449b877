"""The garbage collector of a worker that has started."""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """Take what start-up made (JAX's and Cirq's modules are a million objects) out of every later collection.

    A micro-batch makes and drops some ten thousand objects, none of them in cycles: collections are made rarer too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
