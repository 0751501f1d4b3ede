"""Reading the values of a JSON body or a query: every one typed and bounded, errors in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, overload
from urllib.parse import parse_qsl

from marina.jsontext import load_json
from node.api.errors import BadRequestError

T = TypeVar("T")
QUERY_FIELDS_MAX = 64
TEXT_BYTES_MAX = 4096
TEXTS_MAX = 256
_WHOLE = re.compile(r"-?[0-9]{1,18}")
DEPTH_MAX = 32
_TRUE, _FALSE = ("true", "1"), ("false", "0")


class Fields:
    """Named values from outside. A value of null counts as missing."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def raw(self) -> dict[str, object]:
        """Return everything as it came."""
        return dict(self._values)

    @overload
    def text(self, name: str, *, bytes_max: int = TEXT_BYTES_MAX) -> str: ...
    @overload
    def text(self, name: str, default: T, *, bytes_max: int = TEXT_BYTES_MAX) -> str | T: ...

    def text(self, name: str, default: Any = ..., *, bytes_max: int = TEXT_BYTES_MAX) -> Any:
        """Return a text without control characters.

        Raises:
            BadRequestError: missing without a default, not a text, or too long.
        """
        value = self._get(name, default)
        return value if value is default else _text(name, value, bytes_max)

    @overload
    def whole(self, name: str, *, low: int, high: int) -> int: ...
    @overload
    def whole(self, name: str, default: T, *, low: int, high: int) -> int | T: ...

    def whole(self, name: str, default: Any = ..., *, low: int, high: int) -> Any:
        """Return a whole number within both bounds; in a query its decimal text.

        Raises:
            BadRequestError: missing without a default, not a whole number, or out of bounds.
        """
        value = self._get(name, default)
        if value is default:
            return value
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadRequestError(f"'{name}' must be a whole number from {low} to {high}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false; in a query ``true``, ``1``, ``false`` or ``0``.

        Raises:
            BadRequestError: anything else.
        """
        value = self._get(name, default)
        if isinstance(value, bool):
            return value
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        raise BadRequestError(f"'{name}' must be true or false")

    @overload
    def choice(self, name: str, choices: tuple[str, ...]) -> str: ...
    @overload
    def choice(self, name: str, choices: tuple[str, ...], default: T) -> str | T: ...

    def choice(self, name: str, choices: tuple[str, ...], default: Any = ...) -> Any:
        """Return one of the words.

        Raises:
            BadRequestError: missing without a default, or another word.
        """
        value = self._get(name, default)
        if value is default or value in choices:
            return value
        raise BadRequestError(f"'{name}' must be one of {', '.join(choices)}")

    def texts(self, name: str, *, items_max: int = TEXTS_MAX, bytes_max: int = TEXT_BYTES_MAX) -> list[str]:
        """Return a list of texts, empty when missing; in a query separated by commas.

        Raises:
            BadRequestError: not a list of texts, too many, or one too long.
        """
        value = self._get(name, None)
        if value is None:
            return []
        items = [part for part in value.split(",") if part] if isinstance(value, str) else value
        if not isinstance(items, list) or len(items) > items_max:
            raise BadRequestError(f"'{name}' must be a list of at most {items_max} texts")
        return [_text(name, item, bytes_max) for item in items]

    def _get(self, name: str, default: Any) -> Any:
        value = self._values.get(name)
        if value is not None:
            return value
        if default is ...:
            raise BadRequestError(f"'{name}' is missing")
        return default


def parse_body(body: bytes) -> Fields:
    """Return the fields of a JSON object; an empty body is an empty object.

    Raises:
        BadRequestError: not one JSON object, a name twice, a number JSON does not have, too deep.
    """
    if not body:
        return Fields({})
    try:
        value = load_json(body, depth_max=DEPTH_MAX, pairs_hook=_unique)
    except ValueError as err:
        raise BadRequestError(f"the body is not valid JSON, or nested deeper than {DEPTH_MAX}") from err
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    return Fields(value)


def parse_query(query: bytes) -> Fields:
    """Return the fields of a query string.

    Raises:
        BadRequestError: not UTF-8, a name twice, or too many fields.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
        return Fields(_unique(pairs))
    except ValueError as err:
        raise BadRequestError("the query is not valid: each name once, percent-encoded UTF-8") from err


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _text(name: str, value: object, bytes_max: int) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"'{name}' must be a text")
    if len(value) > bytes_max or len(value.encode("utf-8", "surrogatepass")) > bytes_max:
        raise BadRequestError(f"'{name}' must be at most {bytes_max} bytes long")
    if any((ord(c) < 32 and c not in "\t\n") or 0xD800 <= ord(c) <= 0xDFFF or ord(c) == 127 for c in value):
        raise BadRequestError(f"'{name}' must not hold control characters")
    return value
