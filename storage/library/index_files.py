"""The files of the query index: whether they are whole and ours, and how they are thrown away.

Beside tantivy's own files lies a marker. It is written behind each commit; an index without one, of
another format or engine, or with a file whose checksum is wrong, is not used but built anew.
"""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.errors import StorageError
from storage.file_ops import PosixFileOps, replace_file, translated

MARKER = "marina.json"
_MARKER_BYTES_MAX = 4096
_META = "meta.json"
_META_BYTES_MAX = 16 << 20
_OWN_FILES = frozenset({MARKER, MARKER + ".new", _META, ".managed.json"})
_FOOTER_MAGIC = 1337
_FOOTER_TAIL_BYTES = 8
_FOOTER_BYTES_MAX = 4096
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Marker:
    """What an index holds.

    Attributes:
        format: of fields and folding (storage/library/matching.py).
        engine: version of tantivy that wrote it.
        sequence: last change of the catalogue that it followed.
    """

    format: int
    engine: str
    sequence: int


def write_marker(directory: Path, marker: Marker) -> None:
    """Write the marker in one step.

    Raises:
        DiskFullError: the disk has no room; the old marker is untouched.
        StorageError: the disk refused; the old marker is untouched.
    """
    replace_file(PosixFileOps(), directory / MARKER, json.dumps(asdict(marker)).encode())


def read_marker(directory: Path) -> Marker | None:
    """Return the marker, None if there is none that can be read."""
    try:
        with (directory / MARKER).open("rb") as file:
            fields = json.loads(file.read(_MARKER_BYTES_MAX))
        marker = Marker(**fields)
    except (OSError, ValueError, TypeError):
        return None
    is_typed = isinstance(marker.format, int) and isinstance(marker.sequence, int)
    return marker if is_typed and isinstance(marker.engine, str) else None


def is_whole(directory: Path) -> bool:
    """Return whether every segment file ends in its footer and hashes to the checksum there.

    tantivy itself looks at footers only when it opens a file, and never at checksums; a flipped bit
    would surface as a crash in the middle of a search.
    """
    try:
        with (directory / _META).open("rb") as file:
            meta = json.loads(file.read(_META_BYTES_MAX))
        segments = {segment["segment_id"].replace("-", "") for segment in meta["segments"]}
        files = [
            path for path in directory.iterdir() if path.name not in _OWN_FILES and path.suffix != ".lock"
        ]
        present = {path.name.partition(".")[0] for path in files}
        return segments <= present and all(
            _has_checksum(path) for path in files if path.name.partition(".")[0] in segments
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def drop_strays(directory: Path) -> None:
    """Remove segment files that the last commit does not know.

    A process that was killed while it committed leaves some, and tantivy refuses to write a file that
    is there already.

    Raises:
        StorageError: the disk refused.
    """
    with translated(f"tidy the search index in {directory}"):
        current = _current_deletes(directory)
        for path in directory.iterdir():
            if path.name in _OWN_FILES or path.suffix == ".lock":
                continue
            name = path.name.partition(".")[0]
            if name not in current or (path.suffix == ".del" and path.name != current[name]):
                path.unlink(missing_ok=True)


def _current_deletes(directory: Path) -> dict[str, str]:
    """Return the file of deleted documents, or nothing, for each segment of the last commit."""
    try:
        meta = json.loads((directory / _META).read_bytes())
        current: dict[str, str] = {}
        for segment in meta["segments"]:
            name = segment["segment_id"].replace("-", "")
            deletes = segment["deletes"]
            current[name] = f"{name}.{deletes['opstamp']}.del" if deletes else ""
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise StorageError(f"the search index in {directory} lost its list of segments") from err
    return current


def wipe(directory: Path) -> None:
    """Make the directory new and empty; nothing outside it is touched.

    Raises:
        StorageError: the disk refused.
    """
    with translated(f"renew the search index in {directory}"):
        if directory.is_symlink() or directory.is_file():
            directory.unlink()
        elif directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True)


def _has_checksum(path: Path) -> bool:
    """Check ``body ‖ footer JSON ‖ u32le footer length ‖ u32le 1337`` (tantivy's directory footer)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _FOOTER_TAIL_BYTES))
        tail = file.read(_FOOTER_TAIL_BYTES)
        footer_bytes, magic = int.from_bytes(tail[:4], "little"), int.from_bytes(tail[4:], "little")
        body_bytes = size - _FOOTER_TAIL_BYTES - footer_bytes
        if magic != _FOOTER_MAGIC or footer_bytes > _FOOTER_BYTES_MAX or body_bytes < 0:
            return False
        file.seek(body_bytes)
        expected = json.loads(file.read(footer_bytes))["crc"]
        file.seek(0)
        crc, left = 0, body_bytes
        while left > 0:
            chunk = file.read(min(left, _READ_BYTES))
            if not chunk:
                return False
            crc = zlib.crc32(chunk, crc)
            left -= len(chunk)
    return bool(crc == expected)
