"""Reading UnixFS files of whoever built them: the children of a node, whatever their sizes and widths."""

from __future__ import annotations

from marina.cid import Cid
from marina.errors import MalformedError
from marina.protowire import fields, read_varint
from storage.content.links import LINKS_MAX, link_target

_DATA, _LINK = 0x0A, 0x12
_KIND, _OWN, _CHILD_BYTES = 0x08, 0x12, 0x20
_FILE = 2


def children_of(data: bytes) -> tuple[tuple[Cid, int], ...]:
    """Return each child of an inner node, in order, with the bytes of the file below it.

    Source: UnixFS and DAG-PB specifications (specs.ipfs.tech/unixfs, ipld.io/specs/codecs/dag-pb).

    Raises:
        MalformedError: it is no inner node of a file, or its sizes do not fit its links.
    """
    view = memoryview(data)
    cids: list[Cid] = []
    sizes: list[int] = []
    kind, own_bytes = -1, 0
    for tag, _, at, end in fields(view):
        if tag == _LINK:
            cids.append(link_target(view[at:end]))
        elif tag == _DATA:
            about = view[at:end]
            for inner, _, start, stop in fields(about):
                if inner == _KIND:
                    kind = read_varint(about, start)[0]
                elif inner == _OWN:
                    own_bytes = stop - start
                elif inner == _CHILD_BYTES:
                    sizes.append(read_varint(about, start)[0])
        if len(cids) > LINKS_MAX or len(sizes) > LINKS_MAX:
            raise MalformedError(f"a node with more than {LINKS_MAX} links")
    if kind != _FILE or own_bytes or len(sizes) != len(cids):
        raise MalformedError("that is no inner node of a UnixFS file")
    return tuple(zip(cids, sizes, strict=True))
