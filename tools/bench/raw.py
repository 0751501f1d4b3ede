"""A raw py-libp2p stream between two processes: what the transport alone can carry."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

BLOCK_BYTES = 256 * 1024


def noise_only(key_pair: object) -> dict[object, object]:
    """Return the security options that offer Noise alone."""
    return {NOISE: NoiseTransport(key_pair, noise_privkey=create_noise_key().private_key)}


async def send_raw(write: Callable[[bytes], Awaitable[None]], size: int) -> None:
    """Write blocks until the size is reached."""
    block = os.urandom(BLOCK_BYTES)
    for _ in range(size // BLOCK_BYTES):
        await write(block)


async def time_raw(
    write: Callable[[bytes], Awaitable[None]], read: Callable[[int], Awaitable[bytes]], size: int
) -> float:
    """Return bytes per second of a raw stream."""
    started = time.perf_counter()
    await write(b"g")
    got = 0
    while got < size:
        got += len(await read(BLOCK_BYTES))
    return size / (time.perf_counter() - started)
