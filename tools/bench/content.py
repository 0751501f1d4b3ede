"""Test material: random files as tracks, a block store on disk, tracks sealed into it as a publisher does."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trio

from marina.cid import Cid
from marina.ids import Account, derive_track_id
from marina.secret import Secret
from storage.blocks.embedded import EmbeddedBlockStore
from storage.content.keys import key_commitment
from storage.content.layout import RenditionLayout, SegmentPlan
from storage.content.seal import seal_file
from storage.content.segments import SUITE_AES_256_GCM, CipherRun, SegmentOpener
from storage.content.unixfs import rendition_file
from storage.kv import LevelKv
from storage.quota import Quota
from tools.bench.child import Message

TRACK_ID = derive_track_id(Account(b"b" * 20), b"s" * 32)
KEY = Secret(b"k" * 32)
QUOTA_BYTES = 2**40
_DRAW_BYTES = 8 * 1024 * 1024


def write_random(path: Path, size_bytes: int, seed: int) -> None:
    """Write a file of random bytes, in place if it exists; it is on the disk and in the page cache after."""
    source = np.random.default_rng(seed)
    with path.open("r+b" if path.exists() else "wb") as file:
        left = size_bytes
        while left:
            left -= file.write(source.bytes(min(left, _DRAW_BYTES)))
        file.truncate()
        file.flush()
        os.fdatasync(file.fileno())


@asynccontextmanager
async def block_store(folder: Path) -> AsyncIterator[EmbeddedBlockStore]:
    """Run an embedded block store in a new folder."""
    folder.mkdir(parents=True)
    kv = LevelKv(folder / "meta")
    blocks = EmbeddedBlockStore(kv=kv, directory=folder / "blobs", quota=Quota(QUOTA_BYTES))
    await blocks.open()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(blocks.run)
            yield blocks
            nursery.cancel_scope.cancel()
        await blocks.close()
    finally:
        await kv.close()


async def seal_track(
    blocks: EmbeddedBlockStore, fd: int, size_bytes: int, *, file_salt: bytes | None = None
) -> Sealed:
    """Read, encrypt, hash and store a track, durable when this returns; as ``RenditionSealer`` does it.

    Args:
        blocks: where it goes.
        fd: descriptor of the plaintext.
        size_bytes: its length.
        file_salt: 32 bytes; equal ones make equal ciphertexts in several processes, which only test data
            may do. Random unless given.
    """
    run = CipherRun(TRACK_ID, 2, 0, SUITE_AES_256_GCM, file_salt or secrets.token_bytes(32))
    plan = SegmentPlan(size_bytes)
    writer = await blocks.stage(plan.ciphertext_bytes)
    with writer:
        digests = await trio.to_thread.run_sync(seal_file, fd, plan, run, KEY, writer)
    layout, _ = rendition_file(size_bytes, digests)
    await blocks.adopt(writer, layout)
    return Sealed(layout, run)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What another process needs to fetch and open a rendition."""

    layout: RenditionLayout
    run: CipherRun

    def to_message(self) -> Message:
        """Return JSON-ready facts."""
        return {
            "root": self.layout.root.hex(),
            "plaintext_bytes": self.layout.plaintext_bytes,
            "digests": self.layout.digests.hex(),
            "file_salt": self.run.file_salt.hex(),
        }

    @classmethod
    def from_message(cls, message: Message) -> Sealed:
        """Return the facts that ``to_message`` wrote."""
        run = CipherRun(TRACK_ID, 2, 0, SUITE_AES_256_GCM, bytes.fromhex(message["file_salt"]))
        root = Cid(bytes.fromhex(message["root"]))
        digests = bytes.fromhex(message["digests"])
        return cls(RenditionLayout(root, message["plaintext_bytes"], digests), run)

    def opener(self) -> SegmentOpener:
        """Return what decrypts its segments."""
        kc = key_commitment(KEY, self.run.key_name)
        return SegmentOpener(self.run, KEY, kc, self.layout.plan.count)
