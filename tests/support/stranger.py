"""A device with an account of its own that speaks the key protocol to real nodes; no node is around it."""

from __future__ import annotations

import os
import time
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.cid import RAW, cid_from_digest
from marina.ids import Account, PeerId, account_text, parse_track
from marina.schema import encode_record
from marina.secret import Secret
from p2p.block_exchange import BlockClient
from p2p.host import Host
from p2p.key_client import KeyClient
from p2p.peerkey import key_of_peer
from p2p.wire.key import Grant, KeyRequest, Refusal, decode_answer, encode_request
from storage.content.envelope import open_envelope
from storage.content.guarded import fits, scope_of
from storage.content.keybox import parse_keybox
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from tests.support.daemons import Daemon
from tests.support.peers import make_host, running, seed

_WAIT_S = 5.0


class Stranger:
    """Asks one node for the key of one tier-1 rendition.

    Attributes:
        account: whose device it is.
        keybox: the anchored one, once it asked.
    """

    def __init__(self, artist: Daemon, track: str, name: str = "stranger", keybox: bytes = b"") -> None:
        """Take who has the track; ``keybox`` is its anchored one, asked for once unless it is given."""
        self.keybox = keybox
        self._artist = artist
        self._track = parse_track(track)
        self._name = name
        self._key = Secret(seed("account " + name).reveal())
        self.device = DeviceKey(seed(name))
        self.account = Account(account_of_key(self._key.reveal()))
        self.address = account_text(self.account)

    def ask(self, node: Daemon, **changes: Any) -> Grant | Refusal:
        """Return a node's answer to a request that is right but for the changes; opens what it grants."""
        return trio.run(self._ask, node, changes)

    async def _ask(self, node: Daemon, changes: dict[str, Any]) -> Grant | Refusal:
        host, eph = make_host(self._name), X25519PrivateKey.generate()
        async with running(host):
            await _dial(host, node)
            data = self.keybox = self.keybox or await self._keybox(host)
            box, now_s = parse_keybox(data), int(time.time())
            binding = issue_binding(self._key, self.device, scopes=DEFAULT_SCOPES, epoch=0, now_s=now_s)
            fields = {
                "chain_id": box.chain_id, "registry": box.registry, "track_id": box.track_id, "tier": 1,
                "owner": self.account, "peer": self.device.public_key, "aud": key_of_peer(_peer(node)),
                "binding": encode_record(binding), "eph": eph.public_key().public_bytes_raw(), "ts": now_s,
                "nonce": os.urandom(16), "keybox_digest": box.cid[-32:], "lic_block": 2**64 - 1,
            } | changes  # fmt: skip
            message = encode_request(KeyRequest(**fields), self.device, data)
            found = decode_answer(await KeyClient(host=host).ask(_peer(node), message, timeout_s=_WAIT_S))
        assert isinstance(found, Grant | Refusal)
        if isinstance(found, Grant):
            found.check(key_of_peer(_peer(node)))
            info = scope_of(box).release_info(found.body.x, found.body.request_digest)
            assert fits(box, found.body.x, open_envelope(eph, found.body.ct, info)), "not what was promised"
        return found

    async def _keybox(self, host: Host) -> bytes:
        """Return the anchored keybox, which anybody gets."""
        await _dial(host, self._artist)
        said = self._artist.run("chain", "call", "registry", "keybox", "0x" + self._track.hex(), "1")
        cid = cid_from_digest(bytes.fromhex(said["result"]["digest"].removeprefix("0x")), RAW)
        found = await BlockClient(host=host).fetch(_peer(self._artist), [cid], timeout_s=_WAIT_S)
        return found[cid]


async def _dial(host: Host, node: Daemon) -> None:
    with node.client() as client:
        address = str(client.get("/api/v1/id").json()["data"]["addresses"][0])
    await host.dial(_peer(node), [address.rpartition("/p2p/")[0]])


def _peer(node: Daemon) -> PeerId:
    return PeerId(node.facts()["peer"])
