"""Messages of /marina/search/1.0.0: a query, and releases by CID as the answer. Pure.

A reply carries no titles and no metadata: the asker fetches each release manifest by its CID and
checks the account's signature itself. See docs/protocol/search.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from marina.cid import check_cid
from marina.errors import MalformedError
from marina.schema import Bytes20, Bytes36, Range, Size, decode_record, encode_record, record

PROTOCOL = "/marina/search/1.0.0"
QUERY_BYTES_MAX = 512
HITS_MAX = 64
SIGNATURE_BYTES_MAX = 256
REQUEST_BYTES_MAX = 600
REPLY_BYTES_MAX = 64 * 1024


class Status(IntEnum):
    """How a query was answered."""

    OK = 0
    BUSY = 1
    """Too many queries; ask again later or somebody else."""
    REFUSED = 2
    """This node answers no queries, or not this one."""


@record(None)
@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A query in the words of the user, and how many releases are wanted at most."""

    query: Annotated[str, Size(1, QUERY_BYTES_MAX)]
    limit: Annotated[int, Range(1, HITS_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class ReleaseHit:
    """One release that fits.

    Attributes:
        release: CID of its newest version that the answering node knows.
        account: who signed it.
        signature: the account's signature of the release payload, opaque here.
    """

    release: Bytes36
    account: Bytes20
    signature: Annotated[bytes, Size(1, SIGNATURE_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class SearchReply:
    """The whole answer, best hit first."""

    status: Annotated[int, Range(min(Status), max(Status))]
    hits: Annotated[tuple[ReleaseHit, ...], Size(0, HITS_MAX)]


def encode_request(request: SearchRequest) -> bytes:
    """Return the header of a request; ValueError when a bound is broken."""
    return encode_record(request)


def decode_request(data: bytes) -> SearchRequest:
    """Return the request in a header; MalformedError for anything else."""
    request = decode_record(SearchRequest, data, limit_bytes=REQUEST_BYTES_MAX, limit_items=8)
    if not request.query.isprintable():
        raise MalformedError("a query holds printable characters only")
    return request


def encode_reply(reply: SearchReply) -> bytes:
    """Return the header of a reply; ValueError when a bound is broken."""
    return encode_record(reply)


def decode_reply(data: bytes, limit: int) -> SearchReply:
    """Return the reply in a header.

    Raises:
        MalformedError: not a reply, more hits than asked for, one twice, or hits with a refusal.
    """
    reply = decode_record(SearchReply, data, limit_bytes=REPLY_BYTES_MAX)
    if len(reply.hits) > limit or len({hit.release for hit in reply.hits}) != len(reply.hits):
        raise MalformedError("a search reply has more hits than asked for, or one twice")
    if reply.hits and reply.status != Status.OK:
        raise MalformedError("a refused search has no hits")
    for hit in reply.hits:
        check_cid(hit.release)
    return reply
