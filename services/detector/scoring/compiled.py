"""How kernels are compiled: one machine-code cache per entry kernel, valid while no source of the package changes.

numba keys its cache by the file of the cached function alone: a change in a function that it calls would go unseen.
So only entry kernels are cached, everything they call is linked into them, and each carries the fingerprint below in
its closure, which is part of numba's key.
"""

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def source_fingerprint() -> int:
    """CRC-32 of all sources of this package."""
    checksum = 0
    for source in sorted(Path(__file__).parent.glob("*.py")):
        checksum = zlib.crc32(source.read_bytes(), checksum)
    return checksum


def kernel(function: Function) -> Function:
    """Compile a function that entry kernels call; it is linked into them and has no cache of its own."""
    return cast("Function", numba.njit(function))


def comparing_kernel(function: Function) -> Function:
    """A `kernel` over finite numbers that takes a minimum: told that none is NaN, it compares four at once."""
    return cast("Function", numba.njit(fastmath={"nnan", "nsz"})(function))


def entry_kernel(function: Function) -> Function:
    """Compile a function that Python calls, on its first call, and cache the machine code on disk.

    It lets go of the interpreter lock: the detector judges one batch while the next one is scored.
    """
    return cast("Function", numba.njit(cache=True, nogil=True)(function))
