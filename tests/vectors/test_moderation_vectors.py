"""The published moderation lists hold, for our code and for a reader that knows nothing but MessagePack."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgpack  # noqa: TID251 - the reader that is independent of marina.codec
import pytest

from governance.moderation import decode_list, encode_list, list_cid, make_entry, make_list
from marina.cid import cid_text

LISTS = json.loads(Path(__file__).with_name("moderation.json").read_text())["lists"]


@pytest.mark.parametrize("vector", LISTS, ids=lambda vector: vector["digest"][:8])
def test_entries_give_the_published_block(vector):
    entries = [make_entry(name, reason) for name, reason in reversed(vector["entries"])]
    made = make_list(entries, previous=bytes.fromhex(vector["previous"]))
    digest, block = encode_list(made)
    assert (digest.hex(), block.hex()) == (vector["digest"], vector["block"])
    assert cid_text(list_cid(digest)) == vector["cid"]
    assert decode_list(block, digest) == made


@pytest.mark.parametrize("vector", LISTS, ids=lambda vector: vector["digest"][:8])
def test_any_reader_of_messagepack_finds_the_entries(vector):
    block = bytes.fromhex(vector["block"])
    assert hashlib.sha256(block).hexdigest() == vector["digest"]
    tag, previous, entries = msgpack.unpackb(block)
    assert (tag, previous.hex()) == ("marina/moderation/1", vector["previous"])
    assert [reason for _, _, reason in entries] == [reason for _, reason in vector["entries"]]
    assert [len(thing) for _, thing, _ in entries] == [36 if kind == 3 else 32 for kind, _, _ in entries]
