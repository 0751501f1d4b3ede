"""Protocol negotiation in one round trip, or in none.

multistream-select (its specification: the initiator may send its greeting and its proposal together) costs
one round trip when there is one protocol to propose. py-libp2p waits for the answer to the greeting first:
another round trip for the encryption, for the multiplexer and for every stream, which at 50 ms is heard in
the wait for the first sound. A stream of one request and one answer needs none: the request goes with the
proposal, and the answer follows the peer's agreement (what go-libp2p and rust-libp2p call lazy).
"""

from __future__ import annotations

from collections.abc import Sequence

from libp2p.abc import IMultiselectCommunicator
from libp2p.custom_types import TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_client import (
    DEFAULT_NEGOTIATE_TIMEOUT,
    MULTISELECT_PROTOCOL_ID,
    MultiselectClient,
)
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils import encode_delim

from p2p.errors import PeerGoneError, StreamRefusedError


def proposal(protocol: str) -> bytes:
    """Return greeting and proposal, to be sent before or with the first bytes of a stream."""
    return b"".join(encode_delim(line.encode()) for line in (MULTISELECT_PROTOCOL_ID, protocol))


async def read_agreement(stream: ReadWriteCloser, protocol: str) -> None:
    """Read the answer to a proposal.

    Raises:
        StreamRefusedError: the peer does not speak the protocol.
        PeerGoneError: it ended the stream instead, as one that has no room does.
    """
    communicator = MultiselectCommunicator(stream)
    try:
        for expected in (MULTISELECT_PROTOCOL_ID, protocol):
            if await communicator.read() != expected:
                raise StreamRefusedError(f"the peer does not speak {protocol}")
    except (MultiselectCommunicatorError, UnicodeDecodeError) as err:
        raise PeerGoneError(f"the peer ended the {protocol} stream before it agreed to it") from err


class OneFlightClient(MultiselectClient):  # type: ignore[misc]
    """The library's client, which sends greeting and proposal together if there is one protocol."""

    async def select_one_of(
        self,
        protocols: Sequence[TProtocol],
        communicator: IMultiselectCommunicator,
        negotiate_timeout: int = DEFAULT_NEGOTIATE_TIMEOUT,
    ) -> TProtocol:
        """Return the first protocol that the peer speaks.

        Raises:
            MultiselectClientError: it speaks none, or did not answer in time.
        """
        if len(protocols) == 1 and isinstance(communicator, MultiselectCommunicator):
            communicator = _OneFlight(communicator.read_writer, protocols[0])
        return await super().select_one_of(protocols, communicator, negotiate_timeout)


class _OneFlight(MultiselectCommunicator):  # type: ignore[misc]
    """Sends the proposal with the greeting; the later call to send it has nothing left to do."""

    def __init__(self, stream: ReadWriteCloser, protocol: TProtocol) -> None:
        super().__init__(stream)
        self._protocol = str(protocol)
        self._is_sent = False

    async def write(self, msg_str: str) -> None:  # noqa: ARG002 - the greeting, sent with the proposal
        if self._is_sent:
            return
        self._is_sent = True
        try:
            await self.read_writer.write(proposal(self._protocol))
        except IOException as err:
            raise MultiselectCommunicatorError("the connection ended during the negotiation") from err
