"""The encrypted byte pipe under a connection: many Noise messages per system call.

py-libp2p reads each Noise message with two receive calls and sends each with one; for 64 KiB messages
that and the copies between its layers cost more than the cipher. The handshake and the cipher states
stay the library's; only the framing ``u16be length ‖ ciphertext`` is done here.
"""

from __future__ import annotations

from collections.abc import Iterable

from libp2p.io.exceptions import IOException
from libp2p.security.noise.io import MAX_NOISE_MESSAGE_LEN, NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.exceptions import NoiseInvalidMessage  # type: ignore[import-untyped]

RECEIVE_BYTES = 256 * 1024
PLAINTEXT_BYTES_MAX = MAX_NOISE_MESSAGE_LEN - 16
"""Plaintext of one Noise message; a frame of this size is one message, one byte more makes two."""
_LENGTH = 2


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
        self._noise = transport.noise_state
        self._raw = transport.read_writer.read_write_closer
        self._received = b""
        self._at = 0
        self._early = self._take_early()

    async def receive(self) -> bytes | None:
        """Return the plaintext of the next Noise message, None when the peer ended the connection.

        Raises:
            BrokenPipe: a message does not decrypt, or the connection ended inside one.
        """
        if self._early:
            early, self._early = self._early, b""
            return early
        while True:
            message = self._take_message()
            if message is not None:
                try:
                    plaintext: bytes = self._noise.decrypt(message)
                except NoiseInvalidMessage as err:
                    raise BrokenPipe("bytes of the peer do not decrypt") from err
                if plaintext:
                    return plaintext
                continue
            data = await self._raw.read(RECEIVE_BYTES)
            left = self._received[self._at :]
            if not data:
                if left:
                    raise BrokenPipe("the connection ended inside a message")
                return None
            self._received, self._at = left + data if left else data, 0

    async def send(self, frames: Iterable[bytes]) -> None:
        """Write each frame as one Noise message, all of them with one call."""
        parts: list[bytes] = []
        for frame in frames:
            ciphertext = self._noise.encrypt(frame)
            parts.append(len(ciphertext).to_bytes(_LENGTH, "big"))
            parts.append(ciphertext)
        await self._raw.write(b"".join(parts))

    async def close(self) -> None:
        """Close the socket under the session."""
        await self._session.close()

    def _take_message(self) -> bytes | None:
        data, start = self._received, self._at + _LENGTH
        if len(data) < start:
            return None
        end = start + int.from_bytes(data[self._at : start], "big")
        if len(data) < end:
            return None
        self._at = end
        return data[start:end]

    def _take_early(self) -> bytes:
        """Return what the negotiation before us read too much."""
        session = self._session
        early = bytes(session.buf.getbuffer()[session.low_watermark : session.high_watermark])
        session.low_watermark = session.high_watermark = 0
        return early
