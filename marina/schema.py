"""Records: frozen dataclasses with declared bounds that travel as canonical arrays.

A record is declared once::

    @record("marina/pledge/1")
    @dataclass(frozen=True, slots=True)
    class Pledge:
        account: Bytes20
        bytes_total: U64

and then ``encode_record(pledge)`` gives E["marina/pledge/1", account, bytes_total] and
``decode_record(Pledge, data)`` gives it back, or MalformedError for every other input. The registry
refuses a tag that is taken and a version without its predecessor. A record without a tag
(``@record(None)``) is a plain array: frame headers whose protocol id already says what they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from marina.codec import FRAME_BYTES_MAX, ITEMS_MAX, Value, decode, encode
from marina.errors import MalformedError

R = TypeVar("R")
_registry: dict[str, type] = {}
_shapes: dict[type, _Shape] = {}


@dataclass(frozen=True, slots=True)
class Size:
    """Bounds of a bytes or str value in bytes, or of a tuple in items; both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of an integer, both ends included."""

    low: int
    high: int


Bytes16 = Annotated[bytes, Size(16, 16)]
Bytes20 = Annotated[bytes, Size(20, 20)]
Bytes32 = Annotated[bytes, Size(32, 32)]
Bytes36 = Annotated[bytes, Size(36, 36)]
"""A binary CIDv1 with a sha2-256 digest."""
Bytes64 = Annotated[bytes, Size(64, 64)]
Bytes65 = Annotated[bytes, Size(65, 65)]
U8 = Annotated[int, Range(0, 2**8 - 1)]
U16 = Annotated[int, Range(0, 2**16 - 1)]
U32 = Annotated[int, Range(0, 2**32 - 1)]
U64 = Annotated[int, Range(0, 2**64 - 1)]


@dataclass(frozen=True, slots=True)
class _Shape:
    tag: str | None
    fields: tuple[tuple[str, Any], ...]


def record(tag: str | None) -> Callable[[type[R]], type[R]]:
    """Register a frozen dataclass as a record; ``tag`` is ``marina/<noun>/<version>`` or None.

    Raises:
        ValueError: the tag is taken, or its predecessor version was never registered.
    """

    def register(cls: type[R]) -> type[R]:
        if tag is not None:
            _claim(tag, cls)
        hints = get_type_hints(cls, include_extras=True)
        fields = tuple((f.name, hints[f.name]) for f in dataclasses.fields(cast("Any", cls)))
        _shapes[cls] = _Shape(tag, fields)
        return cls

    return register


def _claim(tag: str, cls: type) -> None:
    name, _, version = tag.rpartition("/")
    if not name or not version.isdigit() or version == "0":
        raise ValueError(f"record tag {tag!r} does not end in a version from 1 up")
    known = _registry.get(tag)
    if known is not None and known.__qualname__ != cls.__qualname__:
        raise ValueError(f"record tag {tag!r} is taken by {known.__qualname__}")
    if version != "1" and f"{name}/{int(version) - 1}" not in _registry:
        raise ValueError(f"record tag {tag!r} leaves a gap in the versions")
    _registry[tag] = cls


def registered() -> dict[str, type]:
    """Return every tagged record known so far, by tag."""
    return dict(_registry)


def to_value(item: object) -> Value:
    """Return a record as the array that is encoded for it, its tag first.

    Raises:
        ValueError: a field is outside its declared bounds.
    """
    shape = _shapes[type(item)]
    values: list[Value] = [] if shape.tag is None else [shape.tag]
    for name, hint in shape.fields:
        values.append(_dump(hint, getattr(item, name), name))
    return values


def encode_record(item: object) -> bytes:
    """Return the canonical bytes of a record (see ``to_value``)."""
    return encode(to_value(item))


def from_value(cls: type[R], value: Value) -> R:
    """Return the record that an array stands for.

    Raises:
        MalformedError: another tag, another number of fields, a wrong type or a bound broken.
    """
    shape = _shapes[cls]
    if not isinstance(value, list):
        raise MalformedError(f"{cls.__name__} is not an array")
    values = list(value)
    if shape.tag is not None:
        if not values or values[0] != shape.tag:
            raise MalformedError(f"expected a {shape.tag} record")
        values = values[1:]
    if len(values) != len(shape.fields):
        raise MalformedError(f"{cls.__name__} has {len(shape.fields)} fields, not {len(values)}")
    pairs = zip(shape.fields, values, strict=True)
    return cls(**{name: _load(hint, item, name) for (name, hint), item in pairs})


def decode_record(
    cls: type[R], data: bytes, *, limit_bytes: int = FRAME_BYTES_MAX, limit_items: int = ITEMS_MAX
) -> R:
    """Return the record in canonical bytes; MalformedError for anything else."""
    return from_value(cls, decode(data, limit_bytes=limit_bytes, limit_items=limit_items))


def _dump(hint: Any, item: Any, name: str) -> Value:
    try:
        _load(hint, item if not isinstance(item, tuple) else list(item), name, dumping=True)
    except MalformedError as err:
        raise ValueError(str(err)) from err
    return _plain(item)


def _plain(item: Any) -> Value:
    if type(item) in _shapes:
        return to_value(item)
    if isinstance(item, tuple | list):
        return [_plain(each) for each in item]
    return cast("Value", item)


def _load(hint: Any, item: Any, name: str, *, dumping: bool = False) -> Any:  # noqa: C901 - one branch per kind of field
    if get_origin(hint) is Annotated:
        base, *bounds = get_args(hint)
        loaded = _load(base, item, name, dumping=dumping)
        for bound in bounds:
            _check_bound(bound, loaded, name)
        return loaded
    if hint in _shapes:
        if dumping:
            if type(item) is not hint:
                raise MalformedError(f"{name} is not a {hint.__name__}")
            return item
        return from_value(hint, item)
    args = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(item, list | tuple):
            raise MalformedError(f"{name} is not an array")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_load(args[0], each, name, dumping=dumping) for each in item)
        if len(item) != len(args):
            raise MalformedError(f"{name} has {len(item)} items, not {len(args)}")
        pairs = zip(args, item, strict=True)
        return tuple(_load(arg, each, name, dumping=dumping) for arg, each in pairs)
    if type(None) in args:
        if item is None:
            return None
        (inner,) = [arg for arg in args if arg is not type(None)]
        return _load(inner, item, name, dumping=dumping)
    if type(item) is not hint:
        raise MalformedError(f"{name} is not of type {getattr(hint, '__name__', hint)}")
    return item


def _check_bound(bound: object, item: Any, name: str) -> None:
    if isinstance(bound, Size):
        length = len(item.encode()) if isinstance(item, str) else len(item)
        if not bound.low <= length <= bound.high:
            raise MalformedError(f"{name} has length {length}, allowed {bound.low} to {bound.high}")
    elif isinstance(bound, Range) and not bound.low <= item <= bound.high:
        raise MalformedError(f"{name} is {item}, allowed {bound.low} to {bound.high}")
