"""The settings file ``<home>/config.toml``: read whole, changed one line at a time.

The standard library reads TOML and does not write it. A change replaces the lines of one key, so that
comments and order survive; the result is parsed again and compared before it replaces the file.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from marina.errors import UsageError
from node.settings_schema import SettingKey
from storage.file_ops import PosixFileOps, replace_file

FILE_BYTES_MAX = 1 << 20
Tree = dict[str, object]
_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]\s*(#.*)?")


def read_file(path: Path) -> Tree:
    """Return the parsed file, empty when there is none.

    Raises:
        UsageError: it cannot be read, is not TOML, or is above 1 MiB; the message has the line.
    """
    return _parse(_read_text(path), path)


def flatten(tree: Tree) -> dict[str, object]:
    """Return ``section.key`` → value of a parsed file, one level deep."""
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": each for inner, each in value.items()})
        else:
            flat[name] = value
    return flat


def write_value(path: Path, key: SettingKey, value: object | None) -> None:
    """Set one key in the file, or remove it (None), keeping everything else as it was.

    Raises:
        UsageError: the file is damaged, or written in a way this cannot change safely.
        StorageError: the disk refused; the file is untouched.
    """
    before = _read_text(path)
    lines = before.splitlines()
    _remove(lines, key)
    if value is not None:
        _insert(lines, key, f"{_bare(key)} = {_toml(key.to_file(value))}")
    after = "\n".join(lines).strip("\n") + "\n"
    _check(before, after, path, key, value)
    replace_file(PosixFileOps(), path, after.encode())


def _check(before: str, after: str, path: Path, key: SettingKey, value: object | None) -> None:
    wanted = flatten(_parse(before, path))
    wanted.pop(key.name, None)
    if value is not None:
        wanted[key.name] = key.to_file(value)
    try:
        is_right = flatten(tomllib.loads(after)) == wanted
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        raise UsageError(
            f"{path} is written in a way that cannot be changed safely: edit {key.name} there by hand"
        )


def _remove(lines: list[str], key: SettingKey) -> None:
    start, end = _section_lines(lines, key.section)
    for first in range(start, end):
        if not re.match(rf"\s*{re.escape(_bare(key))}\s*=", lines[first]):
            continue
        for last in range(first + 1, end + 1):
            try:  # a value may span lines: take as many as make it whole
                tomllib.loads("\n".join(lines[first:last]))
            except tomllib.TOMLDecodeError:
                continue
            del lines[first:last]
            return


def _insert(lines: list[str], key: SettingKey, line: str) -> None:
    start, end = _section_lines(lines, key.section)
    if key.section and start == 0:
        lines += ["", f"[{key.section}]", line]
        return
    while end > start and not lines[end - 1].strip():
        end -= 1
    lines.insert(end, line)


def _section_lines(lines: list[str], section: str) -> tuple[int, int]:
    """Return the line range behind a section's heading; (0, 0) when it is missing."""
    start, current, seen = 0, "", not section
    for number, line in enumerate(lines):
        match = _SECTION.fullmatch(line)
        if match is None:
            continue
        if seen and current == section:
            return start, number
        current = match[1]
        if current == section:
            start, seen = number + 1, True
    return (start, len(lines)) if seen and current == section else (0, 0)


def _bare(key: SettingKey) -> str:
    return key.name.rpartition(".")[2]


def _toml(value: str | int | bool | list[str]) -> str:
    """Return a TOML value; JSON's strings and lists of strings are TOML's basic ones."""
    return json.dumps(value, ensure_ascii=False)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode()
    except FileNotFoundError:
        return ""
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise UsageError(f"{path} is not UTF-8 text") from err
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} is above 1 MiB: that is no settings file")
    return text


def _parse(text: str, path: Path) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise UsageError(f"{path} is not valid TOML: {err}") from err
    except RecursionError as err:
        raise UsageError(f"{path} is nested too deeply") from err
