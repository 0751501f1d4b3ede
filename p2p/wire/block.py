"""Messages of /marina/block/1.0.0 (docs/protocol/block.md): small blocks by CID, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.schema import Bytes36, Range, Size, record

PROTOCOL = "/marina/block/1.0.0"
CIDS_MAX = 16
BLOCK_BYTES_MAX = 512 * 1024
"""Manifests, keyboxes, UnixFS nodes and artwork are all smaller (design, architecture §5.4)."""
REQUEST_HEADER_BYTES_MAX = 1024
REPLY_HEADER_BYTES_MAX = 32

STATUS_OK, STATUS_MISSING, STATUS_DENIED, STATUS_BUSY = range(4)


@record(None)
@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Wants blocks, answered one by one in this order."""

    cids: Annotated[tuple[Bytes36, ...], Size(1, CIDS_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class BlockReply:
    """Answers one CID; ``length`` payload bytes follow, none unless the status is OK."""

    status: Annotated[int, Range(STATUS_OK, STATUS_BUSY)]
    length: Annotated[int, Range(0, BLOCK_BYTES_MAX)]
