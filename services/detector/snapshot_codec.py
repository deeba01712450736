"""State to bytes and back: msgpack of typed dataclasses; arrays as dtype, shape and bytes. Nothing is executed."""

from typing import Any, TypeVar

import msgspec
import numpy as np

T = TypeVar("T")


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), value.tobytes()]
    raise NotImplementedError(f"{type(value).__name__} has no place in a snapshot")


def _decode(kind: Any, value: Any) -> Any:
    if getattr(kind, "__origin__", kind) is np.ndarray:
        dtype, shape, content = value
        return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()
    raise NotImplementedError(f"{kind} has no place in a snapshot")


def pack(state: Any) -> bytes:
    """Encode a state."""
    return msgspec.msgpack.encode(state, enc_hook=_encode)


def unpack(content: bytes, kind: type[T]) -> T:
    """Decode a state; `ValueError` (msgspec's errors are) when it does not fit."""
    return msgspec.msgpack.decode(content, type=kind, dec_hook=_decode)


def to_plain(state: Any) -> Any:
    """A detector's state as plain values, independent of its type."""
    return msgspec.to_builtins(state, builtin_types=(bytes,), enc_hook=_encode)


def from_plain(plain: Any, kind: type[T]) -> T:
    """A detector's state from plain values; `ValueError` when it does not fit."""
    return msgspec.convert(plain, kind, dec_hook=_decode)
