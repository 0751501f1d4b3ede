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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from marina.codec import FRAME_BYTES_MAX, ITEMS_MAX, Value, decode, encode
from marina.errors import MalformedError

R = TypeVar("R")
_Loader = Callable[[Any, str, bool], Any]
"""(value, name of the field, whether it is being encoded) → the checked value."""
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
    fields: tuple[tuple[str, _Loader], ...]


def record(tag: str | None) -> Callable[[type[R]], type[R]]:
    """Register a frozen dataclass as a record; ``tag`` is ``marina/<noun>/<version>`` or None.

    Raises:
        ValueError: the tag is taken, or its predecessor version was never registered.
    """

    def register(cls: type[R]) -> type[R]:
        if tag is not None:
            _claim(tag, cls)
        hints = get_type_hints(cls, include_extras=True)
        fields = tuple((f.name, _loader(hints[f.name])) for f in dataclasses.fields(cast("Any", cls)))
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
    for name, load in shape.fields:
        field = getattr(item, name)
        try:
            load(field, name, True)
        except MalformedError as err:
            raise ValueError(str(err)) from err
        values.append(_plain(field))
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
    return cls(**{name: load(item, name, False) for (name, load), item in pairs})


def decode_record(
    cls: type[R], data: bytes, *, limit_bytes: int = FRAME_BYTES_MAX, limit_items: int = ITEMS_MAX
) -> R:
    """Return the record in canonical bytes; MalformedError for anything else."""
    return from_value(cls, decode(data, limit_bytes=limit_bytes, limit_items=limit_items))


def _plain(item: Any) -> Value:
    if type(item) in _shapes:
        return to_value(item)
    if isinstance(item, tuple | list):
        return [_plain(each) for each in item]
    return cast("Value", item)


def _loader(hint: Any) -> _Loader:
    """Return a function that checks and converts a field's value; made once, as typing is slow to ask."""
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        return _bounded(_loader(args[0]), args[1:])
    if hint in _shapes:
        return _nested(hint)
    if get_origin(hint) is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return _list_of(_loader(args[0]))
        return _tuple_of([_loader(arg) for arg in args])
    if type(None) in args:
        (inner,) = [arg for arg in args if arg is not type(None)]
        return _optional(_loader(inner))
    return _exactly(hint)


def _bounded(inner: _Loader, bounds: Sequence[object]) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:
        loaded = inner(item, name, is_dumping)
        for bound in bounds:
            _check_bound(bound, loaded, name)
        return loaded

    return load


def _nested(cls: type) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:
        if not is_dumping:
            return from_value(cls, item)
        if type(item) is not cls:
            raise MalformedError(f"{name} is not a {cls.__name__}")
        return item

    return load


def _list_of(inner: _Loader) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:
        if not isinstance(item, list | tuple):
            raise MalformedError(f"{name} is not an array")
        return tuple(inner(each, name, is_dumping) for each in item)

    return load


def _tuple_of(inner: Sequence[_Loader]) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:
        if not isinstance(item, list | tuple):
            raise MalformedError(f"{name} is not an array")
        if len(item) != len(inner):
            raise MalformedError(f"{name} has {len(item)} items, not {len(inner)}")
        return tuple(each(part, name, is_dumping) for each, part in zip(inner, item, strict=True))

    return load


def _optional(inner: _Loader) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:
        return None if item is None else inner(item, name, is_dumping)

    return load


def _exactly(cls: type) -> _Loader:
    def load(item: Any, name: str, is_dumping: bool) -> Any:  # noqa: ARG001 - the same check both ways
        if type(item) is not cls:
            raise MalformedError(f"{name} is not of type {getattr(cls, '__name__', cls)}")
        return item

    return load


def _check_bound(bound: object, item: Any, name: str) -> None:
    if isinstance(bound, Size):
        length = len(item.encode()) if isinstance(item, str) else len(item)
        if not bound.low <= length <= bound.high:
            raise MalformedError(f"{name} has length {length}, allowed {bound.low} to {bound.high}")
    elif isinstance(bound, Range) and not bound.low <= item <= bound.high:
        raise MalformedError(f"{name} is {item}, allowed {bound.low} to {bound.high}")
