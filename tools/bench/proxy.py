"""A slow line: forwards TCP with a delay and a rate in each direction.

``python -m tools.bench.proxy TARGET_PORT DELAY_MS MBIT`` prints the port it listens on and ends with its
parent. What is on the line is bounded by the rate times a second.
"""

from __future__ import annotations

import ctypes
import signal
import sys

import trio

CHUNK_BYTES = 16 * 1024
_ON_THE_LINE_MAX = 256
_PR_SET_PDEATHSIG = 1


async def serve(target_port: int, delay_s: float, bytes_per_s: float) -> None:
    """Forward every connection until cancelled."""

    async def handle(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", target_port)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(_carry, near, far, delay_s, bytes_per_s, nursery.cancel_scope)
            nursery.start_soon(_carry, far, near, delay_s, bytes_per_s, nursery.cancel_scope)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(handle, [listener])


async def _carry(
    source: trio.SocketStream,
    sink: trio.SocketStream,
    delay_s: float,
    bytes_per_s: float,
    both: trio.CancelScope,
) -> None:
    send, receive = trio.open_memory_channel[tuple[float, bytes]](_ON_THE_LINE_MAX)

    async def deliver() -> None:
        async for due_s, data in receive:
            await trio.sleep_until(due_s)
            await sink.send_all(data)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver)
            free_s = trio.current_time()
            async with send:
                while data := await source.receive_some(CHUNK_BYTES):
                    free_s = max(free_s, trio.current_time()) + len(data) / bytes_per_s
                    await send.send((free_s + delay_s, data))
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # one end hung up, and so does the line
    both.cancel()


def main() -> None:
    """Run until the parent ends or a signal comes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    port, delay_ms, mbit = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    trio.run(serve, port, delay_ms / 1000, mbit * 1e6 / 8)


if __name__ == "__main__":
    main()
