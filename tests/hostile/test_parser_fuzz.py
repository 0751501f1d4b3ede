"""Every parser of foreign bytes, with wounded messages (threat T1): only declared errors come out.

``make fuzz`` gives each parser the ten million inputs of the threat model.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from marina import codec, dagcbor
from marina.cid import cid_of
from marina.errors import MarinaError
from marina.schema import decode_record, encode_record
from marina.secret import Secret
from node.api import fields, jwt
from p2p.denylist import parse_denylist
from p2p.links import make_link, parse_link
from p2p.muxer.connection import FrameParser
from p2p.muxer.frames import Kind, pack_header
from p2p.wire import block, chunk, gossip, key, pledge, search, ticket
from storage.content.keybox import parse_keybox
from storage.content.release import open_release
from storage.content.track import decode_track
from storage.identity.binding import decode_binding
from streaming.ranges import UnsatisfiableRangeError, parse_range
from tests.support.identities import identity

RUNS = int(os.environ.get("MARINA_FUZZ_RUNS", "2000")) * 50
VECTORS = json.loads((Path(__file__).parents[1] / "vectors/content.json").read_text())
KEYS = json.loads((Path(__file__).parents[1] / "vectors/key_release.json").read_text())
CID = cid_of(b"a block")
DEVICE = identity("fuzz")
KEY = Secret(bytes(32))
NEVER_REFUSED = {"chunk bitmap", "range"}
"""Any short bytes are a bitmap, and HTTP ignores a range header that is none."""
INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc1")


def muxer(data: bytes) -> None:
    FrameParser(lambda _: None, lambda *_, **__: None).feed(data)


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


PARSERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "msgpack": (codec.decode, [codec.encode([1, -5, "text", b"bytes", [None, True, [2**40]]])]),
    "dag-cbor": (
        lambda data: dagcbor.decode(data, limit_bytes=65_536),
        [bytes.fromhex(VECTORS["track_manifest"])],
    ),
    "chunk request": (
        chunk.decode_request,
        [encode_record(chunk.ChunkRequest(7, CID, (1, 2, 3))), encode_record(chunk.ChunkRequest(7, CID, ()))],
    ),
    "chunk reply": (chunk.decode_reply, [encode_record(chunk.ChunkReply(7, 3, 0, 65_536))]),
    "chunk bitmap": (chunk.decode_have, [chunk.encode_have(frozenset(range(0, 900, 7)))]),
    "block request": (
        lambda data: decode_record(block.BlockRequest, data),
        [encode_record(block.BlockRequest((CID,) * 3))],
    ),
    "block reply": (
        lambda data: decode_record(block.BlockReply, data),
        [encode_record(block.BlockReply(0, 500))],
    ),
    "key request": (
        key.decode_asked,
        [bytes.fromhex(KEYS["request"]), bytes.fromhex(KEYS["status_request"])],
    ),
    "key answer": (
        key.decode_answer,
        [bytes.fromhex(KEYS[name]) for name in ("grant", "refusal", "status")],
    ),
    "guarded keybox": (parse_keybox, [bytes.fromhex(KEYS["keybox"])]),
    "search request": (
        search.decode_request,
        [search.encode_request(search.SearchRequest("artist:sea", 20))],
    ),
    "search reply": (
        lambda data: search.decode_reply(data, 20),
        [search.encode_reply(search.SearchReply(0, (search.ReleaseHit(CID, bytes(20), bytes(65)),)))],
    ),
    "pledge request": (
        pledge.decode_request,
        [encode_record(pledge.PledgeRequest(int(pledge.Kind.STATUS), CID, 0))],
    ),
    "pledge reply": (pledge.decode_reply, [encode_record(pledge.PledgeReply(0, 0, 5, 100))]),
    "announcement": (
        lambda data: decode_record(gossip.Announcement, data),
        [
            encode_record(
                gossip.Announcement(
                    bytes(20), bytes(32), bytes(32), CID, 1, 1_800_000_000, ("/ip4/1.2.3.4/tcp/1",)
                )
            )
        ],
    ),
    "have": (
        lambda data: gossip.open_have(data, now_s=1_800_000_000),
        [
            gossip.seal_have(
                gossip.Have(DEVICE.signer.public_key, (CID,), 1_800_000_000, ("/ip4/1.2.3.4/tcp/1",)),
                DEVICE.signer,
            )
        ],
    ),
    "ticket": (
        ticket.decode_ticket,
        [
            ticket.encode_ticket(
                ticket.Ticket(CID, (ticket.TicketProvider(bytes(32), ("/ip4/1.2.3.4/tcp/1",)),))
            )
        ],
    ),
    "link": (text(parse_link), [make_link(CID, []).encode()]),
    "keybox": (parse_keybox, [bytes.fromhex(VECTORS[f"keybox_{mode}"]) for mode in ("public", "guardians")]),
    "track manifest": (decode_track, [bytes.fromhex(VECTORS["track_manifest"])]),
    "release manifest": (open_release, [bytes.fromhex(VECTORS["release_manifest"])]),
    "device binding": (decode_binding, [DEVICE.binding()]),
    "yamux": (muxer, [pack_header(Kind.DATA, 0, 1, 20) + bytes(20) + pack_header(Kind.PING, 1, 0, 9)]),
    "range": (text(lambda header: parse_range(header, 1000)), [b"bytes=0-99", b"bytes=-5", b"bytes=1-,5-9"]),
    "denylist": (text(parse_denylist), [b"# list\n" + VECTORS["release_cid"].encode() + b"\n"]),
    "request body": (fields.parse_body, [b'{"target": "tr_abc", "limit": 5, "offline": true}']),
    "request query": (fields.parse_query, [b"query=artist%3Asea&limit=20"]),
    "api token": (
        text(lambda token: jwt.read_claims(KEY, token)),
        [jwt.sign_claims(KEY, jwt.Claims("marina:n", "marina-api:n", "cli", "1", 1, 2, "read")).encode()],
    ),
}


def wound(rng: random.Random, good: bytes) -> bytes:
    """Return the bytes changed in one to four places."""
    data = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place % len(data)] = rng.randrange(256)
            case 2:
                del data[place:]
            case 3:
                data[place:place] = rng.choice(INTERESTING)
            case 4:
                end = min(len(data), place + rng.randrange(1, 9))
                data[place:place] = data[place:end] * rng.randrange(1, 4)
            case _:
                del data[place : place + rng.randrange(1, 9)]
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_t1_wounded_messages_cause_only_declared_errors(name: str) -> None:
    parse, seeds = PARSERS[name]
    seed = random.SystemRandom().getrandbits(64)
    rng = random.Random(seed)
    refused = 0
    for _ in range(RUNS):
        data = wound(rng, rng.choice(seeds))
        try:
            parse(data)
        except (MarinaError, UnsatisfiableRangeError):
            refused += 1
        except Exception as err:
            raise AssertionError(f"{name}: {err!r} on {data.hex()} (seed {seed})") from err
    assert refused > 0 or name in NEVER_REFUSED, "nothing was ever refused"


@pytest.mark.parametrize("name", PARSERS)
def test_the_messages_that_are_wounded_reach_deep_into_their_parser(name: str) -> None:
    parse, seeds = PARSERS[name]
    for good in seeds:
        parse(good)
