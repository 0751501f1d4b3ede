"""The keys people write, with the type behind each: derived from the dataclasses of ``settings.py``."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from marina.errors import UsageError
from node.settings import Settings
from node.units import format_rate, format_size, format_span, parse_rate, parse_size, parse_span_s

_SUFFIXES = {"size": "_bytes", "rate": "_bytes_per_s", "span": "_s", "port": ""}
_TRUE, _FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0")
_TEXT_BYTES_MAX = 4096
_LIST_ITEMS_MAX = 256


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One setting.

    Attributes:
        name: as people write it, ``storage.quota``.
        section: name of the dataclass field that holds it; empty for ``profile``.
        attribute: field name inside the section.
        hint: the field's type.
        kind: quantity kind, or None.
        bounds: lowest and highest whole number, or None.
        default: value when nothing sets it.
    """

    name: str
    section: str
    attribute: str
    hint: Any
    kind: str | None
    bounds: tuple[int, int] | None
    default: object

    @property
    def env_name(self) -> str:
        """The environment variable that sets it."""
        return "MARINA_" + self.name.replace(".", "_").upper()

    def parse(self, raw: object) -> object:
        """Return the typed value of what a file, variable or flag says.

        Raises:
            UsageError: the value does not fit; the message names the key and what fits.
        """
        try:
            return _parser(self)(raw)
        except UsageError as err:
            raise UsageError(f"{self.name}: {err}") from err

    def to_file(self, value: object) -> str | int | bool | list[str]:
        """Return the value as it is written in the settings file and shown to people."""
        if self.kind == "size":
            return format_size(cast("int", value))
        if self.kind == "rate":
            return format_rate(cast("float | None", value))
        if self.kind == "span":
            return format_span(cast("int", value))
        if value is None:
            return "auto"
        if isinstance(value, tuple):
            return list(value)
        return cast("str | int | bool", value)


def all_keys() -> dict[str, SettingKey]:
    """Return every key by name, in the order of the dataclasses."""
    keys: dict[str, SettingKey] = {}
    hints = get_type_hints(Settings)
    for top in dataclasses.fields(Settings):
        hint = hints[top.name]
        if not dataclasses.is_dataclass(hint):
            keys[top.name] = _key("", top, hint)
            continue
        inner_hints = get_type_hints(hint)
        for inner in dataclasses.fields(hint):
            key = _key(top.name, inner, inner_hints[inner.name])
            keys[key.name] = key
    return keys


def find_key(name: str) -> SettingKey:
    """Return the key of a name.

    Raises:
        UsageError: there is none; the message suggests the nearest one.
    """
    keys = all_keys()
    if name in keys:
        return keys[name]
    raise UsageError(f"there is no setting {name[:80]!r}{did_you_mean(name, keys)}")


def did_you_mean(name: str, known: dict[str, SettingKey]) -> str:
    """Return ``: did you mean …?``, or where to look when nothing is near."""
    near = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.6)
    if not near:
        tails = {key.rpartition(".")[2]: key for key in known}
        near = [tails[tail] for tail in difflib.get_close_matches(name[:80], tails, n=1, cutoff=0.6)]
    return f": did you mean {near[0]!r}?" if near else ": see 'marina config show'"


def _key(section: str, field: dataclasses.Field[Any], hint: Any) -> SettingKey:
    kind = field.metadata.get("kind")
    bare = field.name.removesuffix(_SUFFIXES[kind]) if kind else field.name
    name = f"{section}.{bare}" if section else bare
    return SettingKey(name, section, field.name, hint, kind, field.metadata.get("range"), field.default)


def _parser(key: SettingKey) -> Callable[[object], object]:
    if key.kind is not None:
        return {"size": _size, "rate": _rate, "span": _span, "port": _port}[key.kind]
    if key.bounds is not None:
        low, high = key.bounds
        return lambda raw: _whole(raw, low, high)
    if key.hint is bool:
        return _flag
    if get_origin(key.hint) is Literal:
        choices = get_args(key.hint)
        return lambda raw: _choice(raw, choices)
    return _texts if get_origin(key.hint) is tuple else _text


def _size(raw: object) -> int:
    return parse_size(_number_text(raw))


def _rate(raw: object) -> float | None:
    return parse_rate(_number_text(raw))


def _span(raw: object) -> int:
    return parse_span_s(_number_text(raw))


def _number_text(raw: object) -> str:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise UsageError("write a number with its unit in quotes")
    return str(raw)


def _port(raw: object) -> int | None:
    return None if raw == "auto" else _whole(raw, 0, 65_535, also="auto, or ")


def _whole(raw: object, low: int, high: int, also: str = "") -> int:
    is_digits = isinstance(raw, str) and re.fullmatch(r"[0-9]{1,9}", raw) is not None
    if isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    elif is_digits:
        number = int(cast("str", raw))
    else:
        number = low - 1
    if not low <= number <= high:
        raise UsageError(f"write {also}a whole number from {low} to {high}, not {raw!r:.40}")
    return number


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.lower() if isinstance(raw, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise UsageError(f"write true or false, not {raw!r:.40}")


def _choice(raw: object, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if isinstance(raw, str) and raw.lower() == choice.lower():
            return choice
    raise UsageError(f"write {', '.join(choices[:-1])} or {choices[-1]}, not {raw!r:.40}")


def _text(raw: object) -> str:
    if not isinstance(raw, str) or len(raw.encode("utf-8", "surrogatepass")) > _TEXT_BYTES_MAX:
        raise UsageError(f"write a text of at most {_TEXT_BYTES_MAX} bytes")
    if not raw.isprintable():
        raise UsageError("write a text without control characters")
    return raw


def _texts(raw: object) -> tuple[str, ...]:
    items = [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) else raw
    if not isinstance(items, list) or len(items) > _LIST_ITEMS_MAX:
        raise UsageError(f"write a list of at most {_LIST_ITEMS_MAX} texts")
    return tuple(_text(item) for item in items)
