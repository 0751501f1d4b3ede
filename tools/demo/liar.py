"""A guardian that was taken over: it has the device's key and answers everything with garbage.

Started as ``python -m tools.demo.liar HOME PORT``; it prints ``ready`` once it listens, and ends with its
standard input. What it is asked for it signs, with a share that is none: that is what proves the fault.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import trio

from marina.clock import SystemClock
from marina.metrics import Registry
from marina.secret import Secret
from p2p.config import HostConfig
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.metrics import P2PMetrics
from p2p.stream import MarinaStream
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL, Asked, GrantBody, decode_asked, encode_grant
from storage.content.envelope import seal
from storage.content.guarded import scope_of
from storage.content.keybox import parse_keybox
from storage.identity.device import DeviceKey, load_device


async def answer(device: DeviceKey, stream: MarinaStream) -> None:
    """Answer one message: noise where a status is wanted, a signed false share where a key is."""
    reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=5)
    message = await reader.header(5)
    asked = None if message is None else decode_asked(message)
    if asked is None or isinstance(asked, Asked) or asked.keybox is None:
        await stream.write(pack(secrets.token_bytes(100)))
        return
    box = parse_keybox(asked.keybox)
    (x,) = (each.x for each in box.shares if each.guardian == device.public_key)
    info = scope_of(box).release_info(x, asked.digest)
    sealed = seal(asked.body.eph, Secret(secrets.token_bytes(33)), info)
    grant = GrantBody(x, sealed, 1, bytes(32), asked.digest, SystemClock().now_s(), 2**40)
    await stream.write(pack(encode_grant(grant, device)))


async def main(home: Path, port: int) -> None:
    """Lie until standard input ends."""
    device = load_device(home / "device.key")
    config = HostConfig(listen_addrs=(f"/ip4/127.0.0.1/tcp/{port}",))
    host = Host(
        seed=Secret(bytes(device.seed.reveal())), clock=SystemClock(), config=config,
        metrics=P2PMetrics(Registry()),
    )  # fmt: skip

    async def lie(stream: MarinaStream) -> None:
        await answer(device, stream)

    host.serve(PROTOCOL, lie, max_streams_per_peer=8)
    async with trio.open_nursery() as nursery:
        await nursery.start(host.run)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
