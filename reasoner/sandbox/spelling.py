"""Encodes plain values as JSON, so that they can pass between an answer's code and its tests.

The sandbox gets it as text, like `inner`; so it imports the standard library only.
"""

import builtins
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

MAX_ITEMS = 10_000
"""Maximum values of an iterator."""
PLAIN_INT = 2**53


class Uncrossable(Exception):
    """A value that cannot be encoded."""


def encode(value: object) -> object:
    """The value as JSON: scalars as they are, other values as a list that begins with the kind."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if abs(value) < PLAIN_INT else ["int", hex(value)]
        case float():
            return float(value) if math.isfinite(value) else ["float", repr(float(value))]
        case complex():
            return ["complex", encode(value.real), encode(value.imag)]
        case bytes() | bytearray():
            return ["bytes" if isinstance(value, bytes) else "bytearray", value.hex()]
        case range():
            return ["range", value.start, value.stop, value.step]
    return _encode_collection(value)


def _encode_collection(value: object) -> object:
    match value:
        case dict():
            return ["dict", *([encode(key), encode(item)] for key, item in value.items())]
        case list() | tuple() | set() | frozenset():
            kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
            return [kind.__name__, *map(encode, value)]
        case Iterator():
            items = list(itertools.islice(value, MAX_ITEMS + 1))
            if len(items) > MAX_ITEMS:
                raise Uncrossable(f"an iterator over more than {MAX_ITEMS} values")
            return ["iterator", *map(encode, items)]
    raise Uncrossable(f"an object of type {type(value).__name__}")


def decode(spelled: object) -> Any:
    """The value that `encode` encoded; raises what Python raises if there is none."""
    if not isinstance(spelled, list):
        return spelled
    kind, *items = spelled
    match kind:
        case "iterator" if len(items) > MAX_ITEMS:
            raise ValueError(f"an iterator over more than {MAX_ITEMS} values")
        case "list" | "tuple" | "set" | "frozenset" | "iterator":
            build: Callable[[Iterator[object]], object] = iter if kind == "iterator" else getattr(builtins, kind)
            return build(list(map(decode, items)))  # type: ignore[arg-type]
        case "dict":
            return {decode(key): decode(item) for key, item in items}
        case "int":
            return int(items[0], 16)
        case "float":
            return float(items[0])
        case "complex":
            return complex(decode(items[0]), decode(items[1]))
        case "bytes" | "bytearray":
            return getattr(builtins, kind).fromhex(items[0])
        case "range":
            return range(*items)
    raise ValueError(f"no value is encoded as {kind!r:.40}")


def same(a: object, b: object) -> bool:
    """Whether two values and all their types are equal; a tuple equals a list, and NaN equals NaN."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    return a == b or (a != a and b != b)  # noqa: PLR0124
