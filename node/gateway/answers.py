"""What a request to the gateway gets: status, headers, and bytes that come as they are read.

The protocol is specs.ipfs.tech/http-gateways/trustless-gateway, with /routing/v1/providers of
specs.ipfs.tech/routing/http-routing-v1. What is on this disk is served; nothing is fetched for strangers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, unquote

from marina.cid import DAG_PB, Cid, cid_text, codec_of, parse_cid
from marina.errors import DamagedError, MalformedError, MarinaError, NotFoundError
from marina.ids import PeerId
from node.gateway.walk import SCOPES, walk, walk_range
from storage.content.car import car_header, car_section
from storage.content.unixfs_node import children_of
from storage.file_ops import Buffer

RAW_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car"
NDJSON_TYPE = "application/x-ndjson"
JSON_TYPE = "application/json"
_IMMUTABLE = "public, max-age=29030400, immutable"
_QUERY_BYTES_MAX = 1024
_COMMON = (
    ("X-Content-Type-Options", "nosniff"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Accept, Cache-Control, If-None-Match, Range"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, Etag, X-Ipfs-Path, X-Ipfs-Roots"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)


class Blocks(Protocol):
    """Where blocks are looked up; every ``BlockStore`` is one."""

    async def get(self, cid: Cid) -> bytes:
        """Return a block; BlockNotFoundError or BlockDamagedError if it is not here."""
        ...

    async def has(self, cid: Cid) -> bool:
        """Return whether a block is here."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.

    Attributes:
        status: HTTP status.
        headers: beside those that every response has.
        body: all of it, or pieces as they come; a stream that raises ends the connection, so that nobody
            takes what came for the whole.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncGenerator[Buffer, None] = field(default=b"", repr=False)

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """Everything that goes out in front of the body."""
        sized = (("Content-Length", str(len(self.body))),) if isinstance(self.body, bytes) else ()
        return (*_COMMON, *self.headers, *sized)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: GET, HEAD or OPTIONS; others are refused.
        target: path and query as sent.
        headers: lower-case name to value, of several the first.
    """

    method: str
    target: str
    headers: Mapping[str, str]


class Gateway:
    """Answers requests from one store of blocks."""

    def __init__(
        self,
        *,
        blocks: Blocks,
        is_denied: Callable[[Cid], bool],
        peer: PeerId,
        addresses: Callable[[], Sequence[str]],
    ) -> None:
        """Take the collaborators.

        Args:
            blocks: what is served.
            is_denied: whether a block must not be served.
            peer: this node.
            addresses: where this node is reached, over libp2p and over this gateway, as multiaddrs.
        """
        self._blocks = blocks
        self._is_denied = is_denied
        self._peer = peer
        self._addresses = addresses

    async def answer(self, request: Request) -> Answer:
        """Return the response to a request; whatever it is, there is one."""
        if request.method == "OPTIONS":
            return Answer(204, (("Access-Control-Max-Age", "86400"),))
        if request.method not in {"GET", "HEAD"}:
            return refused(405, "this gateway only reads", ("Allow", "GET, HEAD, OPTIONS"))
        path, _, query = request.target.partition("?")
        if len(query) > _QUERY_BYTES_MAX:
            return refused(414, "the query is too long")
        try:
            fields = {key: values[0] for key, values in parse_qs(query, max_num_fields=16).items()}
        except ValueError:
            return refused(400, "the query has more fields than any that is known here")
        parts = [unquote(each) for each in path.strip("/").split("/")]
        try:
            if len(parts) == 2 and parts[0] == "ipfs":
                return await self._ipfs(parse_cid(parts[1]), fields, request.headers)
            if len(parts) == 4 and parts[:3] == ["routing", "v1", "providers"]:
                return await self._providers(parse_cid(parts[3]), request.headers)
        except MalformedError as err:
            return refused(400, str(err))
        except (NotFoundError, DamagedError):
            return refused(404, "the block is not on this node")
        except MarinaError as err:
            return refused(503, str(err))
        if parts[0] == "ipfs" and len(parts) > 2:
            return refused(400, "paths are not followed here: ask for the CID of each block")
        return refused(404, "this gateway has /ipfs/CID?format=raw|car and /routing/v1/providers/CID")

    async def _ipfs(self, cid: Cid, fields: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        wanted = _format(fields.get("format"), headers.get("accept", ""))
        if wanted is None:
            return refused(406, f"ask for format=raw or format=car, or accept {RAW_TYPE} or {CAR_TYPE}")
        if self._is_denied(cid):
            return refused(410, "this node does not serve that")
        return await (self._raw(cid, headers) if wanted == "raw" else self._car(cid, fields, headers))

    async def _raw(self, cid: Cid, headers: Mapping[str, str]) -> Answer:
        name = cid_text(cid)
        known = _known(cid, f'"{name}.raw"', headers)
        if known is not None:
            return known
        about = _about(cid, f'"{name}.raw"', RAW_TYPE, f"{name}.bin")
        return Answer(200, about, await self._blocks.get(cid))

    async def _car(self, cid: Cid, fields: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        scope = fields.get("dag-scope", "all")
        if scope not in SCOPES:
            return refused(400, f"dag-scope is one of {', '.join(SCOPES)}")
        part = _part(fields.get("entity-bytes")) if scope == "entity" else None
        if fields.get("car-version", "1") != "1" or fields.get("car-order", "dfs") not in {"dfs", "unk"}:
            return refused(400, "CAR files are of version 1 and in dfs order here")
        etag = f'"{cid_text(cid)}.car.{scope}{"" if part is None else f".{part[0]}.{part[1]}"}"'
        known = _known(cid, etag, headers)
        if known is not None:
            return known
        root = await self._blocks.get(cid)
        kind = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
        about = _about(cid, etag, kind, f"{cid_text(cid)}.car")
        if part is not None and codec_of(cid) == DAG_PB:
            children_of(root)  # says now if it is no file
            return Answer(200, about, self._sections(cid, walk_range(self._blocks, cid, root, *part)))
        return Answer(200, about, self._sections(cid, walk(self._blocks, cid, root, scope)))

    async def _sections(
        self, cid: Cid, found: AsyncGenerator[tuple[Cid, bytes], None]
    ) -> AsyncGenerator[Buffer, None]:
        yield car_header([cid])
        async with aclosing(found) as blocks:
            async for each, data in blocks:
                if self._is_denied(each):
                    raise NotFoundError("a block of it is not served here")
                for piece in car_section(each, data):
                    yield piece

    async def _providers(self, cid: Cid, headers: Mapping[str, str]) -> Answer:
        is_here = not self._is_denied(cid) and await self._blocks.has(cid)
        record = {
            "Schema": "peer",
            "ID": self._peer,
            "Addrs": list(self._addresses()),
            "Protocols": ["transport-bitswap", "transport-ipfs-gateway-http"],
        }
        vary = (("Vary", "Accept"), ("Cache-Control", "public, max-age=60" if is_here else "no-store"))
        if NDJSON_TYPE in headers.get("accept", ""):
            body = json.dumps(record).encode() + b"\n" if is_here else b""
            return Answer(200, (("Content-Type", NDJSON_TYPE), *vary), body)
        body = json.dumps({"Providers": [record] if is_here else []}).encode()
        return Answer(200, (("Content-Type", JSON_TYPE), *vary), body)


def _format(asked: str | None, accept: str) -> str | None:
    if asked is not None:
        return asked if asked in {"raw", "car"} else None
    if RAW_TYPE in accept:
        return "raw"
    return "car" if CAR_TYPE in accept else None


def _part(text: str | None) -> tuple[int, int | None] | None:
    """Return what ``entity-bytes`` asks for: first and last byte of a file, None where it says nothing."""
    if text is None:
        return None
    first, _, last = text.partition(":")
    try:
        return int(first), None if last == "*" else int(last)
    except ValueError as err:
        raise MalformedError("entity-bytes is FROM:TO, in bytes, and TO may be *") from err


def _about(cid: Cid, etag: str, kind: str, filename: str) -> tuple[tuple[str, str], ...]:
    name = cid_text(cid)
    return (
        ("Content-Type", kind),
        ("Content-Disposition", f'attachment; filename="{filename}"'),
        ("Etag", etag),
        ("Cache-Control", _IMMUTABLE),
        ("Vary", "Accept"),
        ("X-Ipfs-Path", f"/ipfs/{name}"),
        ("X-Ipfs-Roots", name),
    )


def _known(cid: Cid, etag: str, headers: Mapping[str, str]) -> Answer | None:
    """Return the answer to whoever has the block already."""
    tags = [each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")]
    if etag in tags or "*" in tags:
        return Answer(304, (("Etag", etag), ("Cache-Control", _IMMUTABLE), ("X-Ipfs-Roots", cid_text(cid))))
    return None


def refused(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    """Return a response that says no in one sentence."""
    about = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *headers)
    return Answer(status, about, f"{why}\n".encode())
