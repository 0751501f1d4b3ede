"""Protocol negotiation in one round trip.

multistream-select (its specification: the initiator may send its greeting and its proposal together) costs
one round trip when there is one protocol to propose. py-libp2p waits for the answer to the greeting first:
another round trip for the encryption, for the multiplexer and for every stream, which at 50 ms is heard in
the wait for the first sound.
"""

from __future__ import annotations

from collections.abc import Sequence

from libp2p.abc import IMultiselectCommunicator
from libp2p.custom_types import TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_client import DEFAULT_NEGOTIATE_TIMEOUT, MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils import encode_delim


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

    async def write(self, msg_str: str) -> None:
        if self._is_sent:
            return
        self._is_sent = True
        try:
            await self.read_writer.write(
                encode_delim(msg_str.encode()) + encode_delim(self._protocol.encode())
            )
        except IOException as err:
            raise MultiselectCommunicatorError("the connection ended during the negotiation") from err
