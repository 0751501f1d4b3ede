"""Guardians as one process: real hosts, the real judge, the real release log.

``python -m tools.bench.paid_party FOLDER CHAIN KIND…`` prints, as one line of JSON, where each guardian
listens, the two public keys of each, and a keybox that they hold shares of; it ends with its parent.
CHAIN is the address of a development chain, or ``-`` for one in memory whose facts are known. A kind is
``honest``, ``hung`` (never answers), ``garbage`` or ``slow`` (after 2 s).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from random import Random

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.dev.genesis import dev_contracts
from chain.key_facts import Block, KeyChain, KeyFacts
from chain.profiles import PROFILES
from chain.rpc import RpcPool
from marina.clock import SystemClock
from marina.ids import Account, TrackId
from marina.schema import encode_record
from marina.secret import Secret
from node.guardian.former import Former
from node.guardian.judge import Judge
from node.guardian.release_log import ReleaseLog
from p2p.framing import pack
from p2p.key_server import KeyServer
from p2p.stream import MarinaStream
from p2p.wire.key import PROTOCOL
from storage.content.guarded import KeyHolder, guarded_keybox
from storage.content.keybox import Keybox
from storage.content.keys import KeyName, key_commitment
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.device import DeviceKey
from storage.identity.typed_data import account_of_key
from storage.kv import LevelKv
from tests.support.peers import make_host, running, seed
from tools.bench.child import die_with_parent

CHAIN_ID = 31337
REGISTRY = b"\x52" * 20
KEY = Secret(hashlib.sha256(b"the content key").digest())
NAME = KeyName(TrackId(b"\x54" * 32), 1, 0)
KC = key_commitment(KEY, NAME)
K = 3


class Holder:
    """One guardian's keys."""

    def __init__(self, name: str) -> None:
        self.signer = DeviceKey(seed(name))
        self._private = X25519PrivateKey.from_private_bytes(seed("hpke " + name).reveal())
        account_key = Secret(hashlib.sha256(f"account {name}".encode()).digest())
        self.account = Account(account_of_key(account_key.reveal()))
        now_s = int(time.time()) - 10
        bound = issue_binding(account_key, self.signer, scopes=DEFAULT_SCOPES, epoch=0, now_s=now_s)
        self._binding = encode_record(bound)
        self.public = KeyHolder(self.signer.public_key, self._private.public_key().public_bytes_raw())

    def key(self) -> X25519PrivateKey:
        """Return what shares are opened with."""
        return self._private

    def binding(self) -> bytes:
        """Return the binding."""
        return self._binding


class WarmChain:
    """A chain whose facts are cached: everybody has a licence to the one track."""

    chain_id = CHAIN_ID
    registry = REGISTRY

    def __init__(self, box: Keybox) -> None:
        self._digest = box.cid[-32:]

    async def block(self, finality: int = 0, *, seen: int = 0) -> Block:  # noqa: ARG002 - it has no newer one
        """Return the newest block."""
        await trio.lowlevel.checkpoint()
        return Block(7 + finality, b"\x07" * 32, int(time.time()))

    async def facts(self, track_id: TrackId, account: Account, tier: int, block: Block) -> KeyFacts:
        """Return that the account has a licence."""
        await trio.lowlevel.checkpoint()
        licence = hashlib.sha256(track_id + account + bytes((tier,))).digest()
        return KeyFacts(block, True, False, licence, 0, 2**63, self._digest, 1, 0, 0)

    async def accepts(self, account: Account, digest: bytes, signature: bytes, block: Block) -> bool:
        """Return that nobody is a contract."""
        await trio.lowlevel.checkpoint()
        return not (account, digest, signature, block)


async def _no_former(track_id: TrackId, tier: int) -> Former | None:
    del track_id, tier
    await trio.lowlevel.checkpoint()
    return None


def _itself(chain: KeyChain | WarmChain) -> KeyChain | WarmChain:
    return chain


async def _misbehave(kind: str, server: KeyServer, stream: MarinaStream) -> None:
    if kind == "hung":
        await trio.sleep(60)
    elif kind == "garbage":
        await stream.write(pack(os.urandom(200)))
    else:
        await trio.sleep(2.0)
        await server.handle(stream)


def _chain_at(url: str, box: Keybox) -> KeyChain | WarmChain:
    if url == "-":
        return WarmChain(box)
    clock = SystemClock()
    rpc = RpcPool(endpoints=(url,), profile=PROFILES["dev"], clock=clock, rng=Random(1))
    return KeyChain(rpc=rpc, contracts=dev_contracts(), clock=clock)


async def serve(folder: Path, url: str, kinds: list[str]) -> None:
    """Serve until cancelled."""
    names = [f"bench guardian {number}" for number in range(len(kinds))]
    holders = [Holder(name) for name in names]
    box = guarded_keybox(
        NAME, KEY, KC, chain_id=CHAIN_ID, registry=REGISTRY, epoch=1, k=K,
        guardians=[each.public for each in holders], random=os.urandom,
    )  # fmt: skip
    clock = SystemClock()
    hosts = [make_host(name) for name in names]
    for host, holder, kind in zip(hosts, holders, kinds, strict=True):
        store = LevelKv(folder / holder.signer.public_key.hex()[:16])
        chain = _chain_at(url, box)
        judge = Judge(
            holder=holder,
            chain=partial(_itself, chain),
            releases=ReleaseLog(store),
            clock=clock,
            former=_no_former,
        )
        server = KeyServer(answering=judge)
        if kind == "honest":
            server.attach(host)
        else:
            host.serve(PROTOCOL, partial(_misbehave, kind, server), max_streams_per_peer=8)
    async with running(*hosts):
        said = {
            "addresses": [host.listen_addrs[0] for host in hosts],
            "holders": [[each.public.peer_key.hex(), each.public.hpke_key.hex()] for each in holders],
            "keybox": box.to_bytes().hex(),
        }
        print(json.dumps(said), flush=True)
        await trio.sleep_forever()


def main() -> None:
    """Run until the parent ends."""
    die_with_parent()
    trio.run(serve, Path(sys.argv[1]), sys.argv[2], sys.argv[3:])


if __name__ == "__main__":
    main()
