"""The encrypted byte pipe under a connection: many Noise messages per system call.

py-libp2p reads each Noise message with two receive calls and sends each with one; for 64 KiB messages
that and the copies between its layers cost more than the cipher. The handshake, the keys and the counters
stay the libraries'; only the framing ``u16be length ‖ ciphertext`` is done here, and the ciphers write
into buffers that are used again and so stay in the processor's cache.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from libp2p.io.exceptions import IOException
from libp2p.security.noise.io import MAX_NOISE_MESSAGE_LEN, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.constants import MAX_NONCE  # type: ignore[import-untyped]

RECEIVE_BYTES = 256 * 1024
PLAINTEXT_BYTES_MAX = MAX_NOISE_MESSAGE_LEN - 16
"""Plaintext of one Noise message; a frame of this size is one message, one byte more makes two."""
_LENGTH = 2
_TAG = 16
_BUFFERS_KEPT_MAX = 4
_buffers: list[bytearray] = []
"""Send buffers that no connection uses now; one for each connection would hold megabytes for idle peers."""


class _Scratch(threading.local):
    """Where a thread's connections decrypt, one message at a time."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(PLAINTEXT_BYTES_MAX))


_scratch = _Scratch()


class BrokenPipe(IOException):  # type: ignore[misc]
    """The connection ended, or its bytes do not decrypt."""


class SecurePipe:
    """Reads and writes plaintext over a session whose Noise handshake is done.

    One task reads and one task writes; a cancelled write leaves half a message behind, so its task
    must not be cancelled before the connection is given up.
    """

    def __init__(self, session: SecureSession) -> None:
        transport = session.conn
        if not isinstance(transport, NoiseTransportReadWriter):
            raise TypeError("only Noise sessions are multiplexed here")
        self._session = session
        protocol = transport.noise_state.noise_protocol
        self._sealing = _Cipher(protocol.cipher_state_encrypt)
        self._opening = _Cipher(protocol.cipher_state_decrypt)
        self._raw = transport.read_writer.read_write_closer
        self._received = memoryview(b"")
        self._partial = bytearray()
        self._early = self._take_early()

    async def receive(self) -> memoryview | None:
        """Return the plaintext of the next Noise message, None when the peer ended the connection.

        It is gone at the caller's next await: another connection decrypts into the same memory.

        Raises:
            BrokenPipe: a message does not decrypt, or the connection ended inside one.
        """
        if self._early:
            early, self._early = self._early, b""
            return memoryview(early)
        while True:
            message = self._take_message()
            if message is not None:
                plaintext = self._opening.open(message, _scratch.view)
                if plaintext:
                    return plaintext
                continue
            data = await self._raw.read(RECEIVE_BYTES)
            if not data:
                if self._partial or len(self._received):
                    raise BrokenPipe("the connection ended inside a message")
                return None
            self._received = memoryview(data)

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write each frame as one Noise message, all of them with one call."""
        size = sum(map(len, frames)) + len(frames) * (_LENGTH + _TAG)
        buffer = _buffers.pop() if _buffers else bytearray()
        if len(buffer) < size:
            buffer = bytearray(size)
        with memoryview(buffer) as view:
            at = 0
            for frame in frames:
                end = at + _LENGTH + len(frame) + _TAG
                view[at : at + _LENGTH] = (len(frame) + _TAG).to_bytes(_LENGTH, "big")
                self._sealing.seal(frame, view[at + _LENGTH : end])
                at = end
            await self._raw.write(view[:at])
        if len(_buffers) < _BUFFERS_KEPT_MAX:
            _buffers.append(buffer)

    async def close(self) -> None:
        """Close the socket under the session."""
        await self._session.close()

    def _take_message(self) -> memoryview | None:
        """Return the next message without its length; only one that came in pieces is copied."""
        if not self._partial:
            end = _end_of(self._received)
            if end is not None and len(self._received) >= end:
                message, self._received = self._received[_LENGTH:end], self._received[end:]
                return message
        self._top_up(_LENGTH)
        end = _end_of(self._partial)
        if end is None:
            return None
        self._top_up(end)
        if len(self._partial) < end:
            return None
        message, self._partial = memoryview(self._partial)[_LENGTH:], bytearray()
        return message

    def _top_up(self, size: int) -> None:
        missing = max(0, size - len(self._partial))
        self._partial += self._received[:missing]
        self._received = self._received[missing:]

    def _take_early(self) -> bytes:
        """Return what the negotiation before us read too much."""
        session = self._session
        early = bytes(session.buf.getbuffer()[session.low_watermark : session.high_watermark])
        session.low_watermark = session.high_watermark = 0
        return early


class _Cipher:
    """One direction of a Noise session: the library's key and counter, the cipher's calls into a buffer."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def seal(self, frame: bytes, target: memoryview) -> None:
        """Encrypt a frame into exactly the room that it takes."""
        nonce = self._nonce()
        self._state.cipher.cipher.encrypt_into(nonce, frame, None, target)
        self._state.n += 1

    def open(self, message: memoryview, scratch: memoryview) -> memoryview:
        """Decrypt a message into the scratch memory and return the part that it took."""
        nonce = self._nonce()
        plaintext = scratch[: max(0, len(message) - _TAG)]
        try:
            self._state.cipher.cipher.decrypt_into(nonce, message, None, plaintext)
        except InvalidTag as err:
            raise BrokenPipe("bytes of the peer do not decrypt") from err
        self._state.n += 1
        return plaintext

    def _nonce(self) -> bytes:
        if self._state.n == MAX_NONCE:
            raise BrokenPipe("the connection has carried all messages that its keys allow")
        nonce: bytes = self._state.cipher.format_nonce(self._state.n)
        return nonce


def _end_of(data: memoryview | bytearray) -> int | None:
    """Return where a message ends that begins here, None while its length is not known."""
    return _LENGTH + int.from_bytes(data[:_LENGTH], "big") if len(data) >= _LENGTH else None
