"""What a person typed: links that are damaged are a slip of the hand, not a fault of a peer."""

from __future__ import annotations

from marina.cid import DAG_CBOR, Cid, codec_of, parse_cid
from marina.errors import MalformedError, UsageError
from p2p.links import Link, parse_link


def typed_link(typed: str) -> Link:
    """Return the link that a person typed.

    Raises:
        UsageError: it is damaged; a link of a peer would be malformed, this one can be typed again.
    """
    try:
        return parse_link(typed)
    except MalformedError as err:
        raise UsageError(str(err)) from err


def typed_cid(typed: str) -> Cid | None:
    """Return the CID of a release that a person typed, with ``ipfs://`` or without; None for anything else.

    Raises:
        UsageError: it is the CID of a file or a block, which does not say what release it is of.
    """
    try:
        cid = parse_cid(typed.strip().removeprefix("ipfs://").removeprefix("/ipfs/"))
    except MalformedError:
        return None
    if codec_of(cid) != DAG_CBOR:
        raise UsageError("that is the CID of a file or block: give the release's, or a track's tr_ id")
    return cid
