"""CAR version 1: blocks of any DAG in one file, read and written block by block.

A file is a header that names roots, then blocks with their CIDs. The reader holds one block at a time,
hashes it, and tells of what is wrong with one block without losing the others. Source:
ipld.io/specs/transport/car/carv1.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import cbor2

from marina.cid import Cid, cid_text, known_cid, matches
from marina.dagcbor import Link, encode
from marina.errors import MalformedError
from marina.protowire import VARINT_BYTES_MAX, read_varint, varint
from storage.file_ops import Buffer

HEADER_BYTES_MAX = 64 * 1024
BLOCK_BYTES_MAX = 2 * 1024 * 1024
_CID_BYTES_MAX = 128
_LINK_TAG = 42
_V0_BYTES = 34


@dataclass(frozen=True, slots=True)
class CarBlock:
    """One block whose bytes fit its CID."""

    cid: Cid
    data: bytes


@dataclass(frozen=True, slots=True)
class CarFault:
    """One block that is left out.

    Attributes:
        name: its CID, as people write it, or its hexadecimal bytes if it is of a kind not known here.
        offset: where it begins in the file.
        why: what is wrong, in words.
    """

    name: str
    offset: int
    why: str


def car_header(roots: Sequence[Cid]) -> bytes:
    """Return what a file begins with."""
    header = encode({"roots": [Link(each) for each in roots], "version": 1})
    return varint(len(header)) + header


def car_section(cid: Cid, data: Buffer) -> tuple[Buffer, Buffer]:
    """Return one block of a file: what stands in front of it, and its bytes."""
    return varint(len(cid) + len(data)) + cid, data


class CarReader:
    """Reads one file.

    Attributes:
        roots: that its header names, of the kinds known here.
        offset: how far it was read, in bytes.
    """

    def __init__(self, source: BinaryIO) -> None:
        """Read the header.

        Raises:
            MalformedError: it is no CAR file of version 1.
        """
        self._source = source
        self.offset = 0
        length = self._length()
        if length is None or not 0 < length <= HEADER_BYTES_MAX:
            raise MalformedError("this is no CAR file: its first bytes are no header")
        self.roots = _roots(self._exactly(length, "the header"))

    def __iter__(self) -> Iterator[CarBlock | CarFault]:
        """Yield blocks, and what is left out, in the order of the file.

        Raises:
            MalformedError: the file ends inside a block, or a block is larger than any may be; what was
                yielded before is whole.
        """
        while True:
            start = self.offset
            length = self._length()
            if length is None:
                return
            if not 0 < length <= BLOCK_BYTES_MAX + _CID_BYTES_MAX:
                raise MalformedError(
                    f"the CAR file names a block of {length} bytes at byte {start}; none is larger than 2 MiB"
                )
            yield _block(self._exactly(length, "a block"), start)

    def _length(self) -> int | None:
        """Return the number that comes next, None at the end of the file."""
        raw = bytearray()
        while len(raw) < VARINT_BYTES_MAX:
            byte = self._source.read(1)
            if not byte:
                if not raw:
                    return None
                break
            raw += byte
            self.offset += 1
            if byte[0] < 0x80:
                return read_varint(bytes(raw), 0)[0]
        raise MalformedError(f"the CAR file is cut off or damaged at byte {self.offset}")

    def _exactly(self, size_bytes: int, what: str) -> bytes:
        start = self.offset
        data = self._source.read(size_bytes)
        self.offset += len(data)
        if len(data) < size_bytes:
            raise MalformedError(f"the CAR file ends inside {what} that begins at byte {start}")
        return data


def read_car(data: bytes) -> CarReader:
    """Return a reader of a file in memory."""
    return CarReader(io.BytesIO(data))


def _roots(header: bytes) -> tuple[Cid, ...]:
    try:
        found = cbor2.loads(header)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as err:
        raise MalformedError("this is no CAR file: its header is no CBOR") from err
    if not isinstance(found, dict) or found.get("version") != 1 or not isinstance(found.get("roots"), list):
        version = found.get("version") if isinstance(found, dict) else None
        raise MalformedError(
            "this CAR file is of version 2: write it as version 1"
            if version == 2
            else "this is no CAR file: its header names no roots of version 1"
        )
    links = [
        each.value for each in found["roots"] if isinstance(each, cbor2.CBORTag) and each.tag == _LINK_TAG
    ]
    known = [known_cid(each[1:]) for each in links if isinstance(each, bytes)]
    return tuple(each for each in known if each is not None)


def _block(section: bytes, offset: int) -> CarBlock | CarFault:
    size = _cid_bytes(section, offset)
    name, data = section[:size], section[size:]
    cid = known_cid(name)
    if cid is None:
        return CarFault(name.hex(), offset, "it is of a kind that is not known here")
    if not matches(cid, data):
        return CarFault(cid_text(cid), offset, "its bytes do not hash to its CID")
    return CarBlock(cid, data)


def _cid_bytes(section: bytes, offset: int) -> int:
    """Return how long the CID is that a section begins with."""
    try:
        if section[:2] == b"\x12\x20":
            size = _V0_BYTES
        else:
            at = 0
            for _ in range(3):  # version, codec, hash
                _, at = read_varint(section, at)
            digest_bytes, at = read_varint(section, at)
            size = at + digest_bytes
    except MalformedError as err:
        raise MalformedError(f"the CAR file is damaged at byte {offset}: no CID stands there") from err
    if not 0 < size <= min(len(section), _CID_BYTES_MAX):
        raise MalformedError(f"the CAR file is damaged at byte {offset}: no CID stands there")
    return size
