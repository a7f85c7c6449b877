"""Compiled programs that outlive the process: `jax.jit`, with the executables in a folder.

JAX's own compilation cache saves XLA's work alone: each process still traces and lowers every program, a tenth of a
second each, before it may look for it there. Here what was compiled is found by the name of the function and the
shapes of its arguments, and is there in 25 ms.

    @program(static_argnums=2)
    def turned(matrix, states, count): ...

    store(folder)          # once a process; without it programs are compiled and kept in memory, as by `jax.jit`
    turned(a, b, 3)        # compiled, or loaded
    turned.ready(a, b, 3)  # whether it need not be compiled now

What lies in the folder is machine code: it is as private as the code itself. A change of the code, of JAX or of the
processor has a folder of its own.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from functools import cache, update_wrapper
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

import jax
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from qmosaic.backends import kept

log = logging.getLogger("qmosaic.programs")

LOOK_SECONDS = 1.0
"""How long the answer is believed that something is not there yet."""

made = {"compiled": 0, "kept": 0}
"""How many programs this process has got, by where from."""
_PLAIN = frozenset({bool, int, float, complex, type(None)})
_tracer: Any = jax.core.Tracer
_leaves: Any = jax.tree_util.tree_flatten


class _Store:
    """Where this process keeps programs, and whether somebody else is compiling them."""

    folder: Path | None = None
    waits = True
    usual = ""
    complete = False
    looked = 0.0


def store(folder: Path, *, waits: bool = True, usual: str = "") -> None:
    """Keep programs in a folder, from now on. Raises OSError.

    `waits` False: another process compiles what is usual (`usual` is a word for it), and says `completed`; until then
    `ready` says no about what is not there, and who asks takes another way. A program that is called is compiled all
    the same.
    """
    root = kept.made(folder)
    _Store.folder, _Store.waits, _Store.usual, _Store.complete = root, waits, usual, False


def complete() -> bool:
    """Whether all that is usual has been compiled."""
    if not _Store.complete and _Store.folder is not None and time.monotonic() - _Store.looked > LOOK_SECONDS:
        _Store.looked, _Store.complete = time.monotonic(), kept.stamp(_Store.folder, _Store.usual).exists()
    return _Store.complete


def may_be_called() -> bool:
    """Whether what is usual is compiled, or may be compiled by who calls it."""
    return _Store.waits or complete()


def completed() -> None:
    """Say so, to all processes."""
    if _Store.folder is not None:
        kept.stamp(_Store.folder, _Store.usual).touch()


@overload
def program(function: Callable[..., Any]) -> Program: ...
@overload
def program(
    *, static_argnums: int | tuple[int, ...] = (), donate_argnums: int | tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Program]: ...
def program(
    function: Callable[..., Any] | None = None,
    *,
    static_argnums: int | tuple[int, ...] = (),
    donate_argnums: int | tuple[int, ...] = (),
) -> Any:
    """`jax.jit`, kept in the store. Arguments by position; the function's own name must be its module's alone."""
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    def made(function: Callable[..., Any]) -> Program:
        return Program(function, static, donate_argnums)

    return made if function is None else made(function)


class Program:
    """A function that is compiled for each shape of its arguments, once for all processes."""

    def __init__(self, function: Callable[..., Any], static: tuple[int, ...], donated: int | tuple[int, ...]) -> None:
        update_wrapper(self, function)
        self._static = frozenset(static)
        self._jit: Any = jax.jit(function, static_argnums=static, donate_argnums=donated)
        self._name = f"{function.__module__.removeprefix('qmosaic.')}.{function.__qualname__}".replace(".<locals>", "")
        self._there: dict[Hashable, Any] = {}
        self._quick: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        if _Store.folder is None:
            return self._jit(*args)
        quick = self._quick_key(args)
        known = None if quick is None else self._quick.get(quick)
        if known is not None:
            return known(*args)
        dynamic = [arg for k, arg in enumerate(args) if k not in self._static]
        leaves, tree = _leaves(dynamic)
        if any(isinstance(leaf, _tracer) for leaf in leaves) or _several():
            return self._jit(*args)
        key = self._key(args, leaves, tree)
        found = self._there.get(key)
        if found is None:
            with self._lock:
                found = self._there.get(key) or self._made(key, args)
        if quick is not None:
            self._quick[quick] = found
        return found(*dynamic)

    def _quick_key(self, args: tuple[Any, ...]) -> Hashable:
        """Cheap, and enough for who comes again: a search calls the same program thousands of times. None of what has
        values that are part of the program, or is nested."""
        if self._static:
            return None
        key: list[Any] = [_wide()]
        for arg in args:
            kind = type(arg)
            if hasattr(arg, "shape"):
                key.append((kind, arg.shape, arg.dtype))
            elif kind in _PLAIN:
                key.append(kind)
            else:
                return None
        return tuple(key)

    def ready(self, *args: Any) -> bool:
        """Whether a call with such arguments would not wait for a compiler, or may."""
        if may_be_called():
            return True
        leaves, tree = _leaves([arg for k, arg in enumerate(args) if k not in self._static])
        key = self._key(args, leaves, tree)
        place = self._place(key)
        return key in self._there or (place is not None and place.exists())

    def _key(self, args: tuple[Any, ...], leaves: Iterable[Any], tree: Any) -> Hashable:
        shapes = tuple((leaf.shape, leaf.dtype.str) if hasattr(leaf, "shape") else type(leaf) for leaf in leaves)
        return _device(), tuple(args[k] for k in sorted(self._static)), shapes, tree, _wide()

    def _place(self, key: Hashable) -> Path | None:
        if _Store.folder is None:
            return None
        return _Store.folder / f"{self._name}-{sha256(repr(key).encode()).hexdigest()[:24]}"

    def _made(self, key: Hashable, args: tuple[Any, ...]) -> Any:
        place = self._place(key)
        found = None if place is None else _loaded(place)
        made["compiled" if found is None else "kept"] += 1
        if found is None:
            found = self._jit.lower(*args).compile()
            if place is not None:
                _keep(found, place)
        self._there[key] = found
        return found


def _loaded(place: Path) -> Any:
    """What was compiled before; None where it is not there, or does not fit after all."""
    try:
        return deserialize_and_load(*pickle.loads(place.read_bytes()))  # noqa: S301 - our own folder
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - of any kind: it is compiled anew, and what lies there replaced
        log.warning("%s cannot be loaded and is compiled again: %s", place.name, error)
        return None


def _keep(compiled: Any, place: Path) -> None:
    """Others may write the same at the same time: a name of its own, then renamed."""
    own = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        own.write_bytes(pickle.dumps(serialize(compiled)))
        own.replace(place)
    except (OSError, NotImplementedError, ValueError) as error:  # a full disk; a program that cannot be kept
        log.info("%s is not kept: %s", place.name, error)
        with suppress(OSError):
            own.unlink()


def _wide() -> bool:
    config: Any = jax.config  # ships without annotations
    return bool(config.jax_enable_x64)


@cache
def _several() -> bool:
    """Whether there are several devices: their programs cannot be kept like this, but JAX's own cache has them."""
    several = len(jax.devices()) > 1
    if several and _Store.folder is not None:
        set_option: Any = jax.config.update
        set_option("jax_compilation_cache_dir", str(_Store.folder / "jax"))
        set_option("jax_persistent_cache_min_compile_time_secs", 0.0)
        set_option("jax_persistent_cache_min_entry_size_bytes", -1)
    return several


@cache
def _device() -> str:
    first: Any = jax.devices()[0]
    return f"{first.platform} {first.device_kind}"
