"""aioipfs 0.7.1 with what is wrong in it repaired; everything here runs in the asyncio thread.

- ``block.put`` takes a path and fails with aiohttp from 3.12 on: here it takes bytes.
- ``dag.car_import`` decodes several JSON lines as one and takes an error for an answer.
- A call whose connection breaks returns None: here it raises what aiohttp raised.
- Answers are read whole, whatever their size: here they end at ``ANSWER_BYTES_MAX``.
- ``pin.add`` and ``pin.rm`` take one path a call: here they take many.

tests/integration/test_aioipfs.py holds the reproductions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp import payload
from aioipfs import AsyncIPFS
from aioipfs.api import BlockAPI, CoreAPI, RepoAPI, RoutingAPI
from aioipfs.apis.dag import DagAPI
from aioipfs.apis.pin import PinAPI
from aioipfs.apis.swarm import SwarmAPI
from aioipfs.multi import FormDataWriter

from marina.secret import Secret

ANSWER_BYTES_MAX = 4 * 1024 * 1024
CONNECTIONS_MAX = 8
_CONNECT_S = 5.0
_OK = 200


class AnswerTooLargeError(Exception):
    """The node sent more than any answer to the question has."""


class _Calls:
    """Mixed into each of the library's groups of calls, whose every request goes through here."""

    driver: AsyncIPFS

    async def ask(self, path: str, params: Any = (), data: Any = None) -> bytes:
        """Return the body of an answer.

        Raises:
            APIError: the node refused; RPCAccessDenied without permission.
            aiohttp.ClientError: it cannot be reached.
            AnswerTooLargeError: the answer is larger than any should be.
        """
        url = self.driver.api_endpoint(path)
        # A redirect would send the blocks, and the permission, to an address that nobody chose.
        async with self.driver.session.post(url, params=params, data=data, allow_redirects=False) as answer:
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > ANSWER_BYTES_MAX:
                    raise AnswerTooLargeError(path)
            if answer.status != _OK:
                self.handle_error(answer, bytes(body))  # type: ignore[attr-defined]
            return bytes(body)

    async def fetch_raw(self, url: Any, params: Any = (), **_: Any) -> bytes:
        """Return a body; the library's name for it."""
        return await self.ask(url, params)

    async def fetch_json(self, url: Any, params: Any = (), **_: Any) -> Any:
        """Return decoded JSON; the library's name for it."""
        return json.loads(await self.ask(url, params))


class _Block(_Calls, BlockAPI):
    async def get(self, cid: str) -> bytes:
        """Return a block that is there; the node does not go looking for it."""
        return await self.ask("block/get", {"arg": cid, "offline": "true"})

    async def put(self, data: bytes) -> str:
        """Store a raw block of sha2-256 and return its CID; nothing pins it yet."""
        params = {"cid-codec": "raw", "mhtype": "sha2-256", "pin": "false", "allow-big-block": "true"}
        answer = await self.ask("block/put", params, _form(data))
        return str(json.loads(answer)["Key"])

    async def rm(self, cids: Sequence[str]) -> list[dict[str, str]]:
        """Remove blocks that nothing pins; return those that stay, each with its ``Error``."""
        params = [*(("arg", each) for each in cids), ("force", "true")]
        lines = (await self.ask("block/rm", params)).splitlines()
        return [each for each in map(json.loads, lines) if each.get("Error")]


class _Dag(_Calls, DagAPI):
    async def car_import(self, car: bytes) -> None:
        """Store the blocks of a CAR file; nothing pins them yet."""
        params = {"pin-roots": "false", "silent": "true", "allow-big-block": "true"}
        await self.ask("dag/import", params, _form(car))


class _Pin(_Calls, PinAPI):
    async def add(self, cids: Sequence[str], *, recursive: bool, name: str = "") -> None:
        """Pin blocks that are there, or with ``recursive`` fetch everything below them first."""
        params = [*(("arg", each) for each in cids), ("recursive", str(recursive).lower())]
        await self.ask("pin/add", [*params, *([("name", name)] if name else [])])

    async def rm(self, cids: Sequence[str], *, recursive: bool) -> None:
        """Unpin; the whole call is refused when one of them is not pinned in that way."""
        await self.ask("pin/rm", [*(("arg", each) for each in cids), ("recursive", str(recursive).lower())])


class _Core(_Calls, CoreAPI):
    pass


class _Repo(_Calls, RepoAPI):
    pass


class _Swarm(_Calls, SwarmAPI):
    async def connect(self, peer: Sequence[str]) -> None:
        """Connect to a peer at any of its addresses."""
        await self.ask("swarm/connect", [("arg", each) for each in peer])


class _Routing(_Calls, RoutingAPI):
    async def provide(self, cid: str) -> None:
        """Tell the network that a block is here."""
        await self.ask("routing/provide", {"arg": cid, "recursive": "false"})


class KuboClient(AsyncIPFS):
    """The library's client with repaired calls; make it in the thread of its loop."""

    def __init__(self, *, scheme: str, host: str, port: int, authorization: Secret[str] | None) -> None:
        """Open no connection yet.

        Args:
            scheme: http or https.
            host: name or address.
            port: of the RPC.
            authorization: value of the header of that name, None for an RPC that asks for none.
        """
        self._authorization = authorization
        super().__init__(host=host, port=port, scheme=scheme)
        self.core, self.block, self.dag = _Core(self), _Block(self), _Dag(self)
        self.pin, self.repo, self.swarm, self.routing = _Pin(self), _Repo(self), _Swarm(self), _Routing(self)

    def get_session(self, *_: Any) -> aiohttp.ClientSession:
        """Return the one session: bounded, and without the library's half hour of patience."""
        headers = {}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization.reveal()
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )


def _form(data: bytes) -> FormDataWriter:
    part = payload.BytesIOPayload(io.BytesIO(data), content_type="application/octet-stream")
    part.set_content_disposition("form-data", name="file", filename="file")
    form = FormDataWriter()
    form.append_payload(part)
    return form
