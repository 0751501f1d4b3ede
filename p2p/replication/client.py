"""Asks operators over /marina/pledge/1.0.0: their offers, pledges and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from marina.cid import Cid
from marina.errors import MalformedError
from marina.ids import Account, PeerId
from marina.schema import encode_record
from marina.signing import Signer
from p2p.errors import P2PError, PeerGoneError, PeerMisbehavedError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.peerkey import key_of_peer
from p2p.wire.pledge import (
    PROTOCOL,
    Answer,
    Ask,
    CheckBinding,
    Kind,
    Offer,
    Pledge,
    PledgeReply,
    PledgeRequest,
    Progress,
    decode_reply,
    open_vouched,
    vouch,
)

_HEADER_BYTES_MAX = 128
_FRAME_S = 8.0


_REFUSALS = {
    Answer.NOT_OFFERED: "it offers no space any more",
    Answer.NO_SPACE: "it has no space left for this release",
    Answer.POLICY: "its rules do not allow this artist, this size or this long",
    Answer.DENIED: "its denylist names this release or this artist",
    Answer.UNKNOWN: "it has no pledge for this release",
    Answer.BUSY: "it is busy",
    Answer.NOT_YOURS: "it does not accept this device's binding to the account",
}


class PledgeRefusedError(P2PError):
    """The operator answered, and the answer is no."""

    code = "pledge_refused"

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the operator refused: {_REFUSALS.get(answer, answer.name.lower())}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node needs to speak for its account.

    Attributes:
        account: the account.
        signer: the device key; the same that the libp2p host runs with.
        binding: returns the current binding's bytes.
        check_binding: checks the binding of others.
    """

    account: Account
    signer: Signer
    binding: Callable[[], bytes]
    check_binding: CheckBinding


class PledgeClient:
    """Requests to connected operators, each on its own stream with one deadline."""

    def __init__(self, *, host: Host, identity: Identity, timeout_s: float = 10.0) -> None:
        self._host = host
        self._identity = identity
        self._timeout_s = timeout_s

    async def offer(self, peer: PeerId, now_s: int) -> Offer:
        """Return an operator's current offer, checked.

        Raises:
            PledgeRefusedError: it offers nothing.
            P2PError, MalformedError, MarinaError: no answer, a bad one, or a bad binding.
        """
        _, payload = await self._request(peer, PledgeRequest(Kind.OFFER.value, b"", 0))
        offer = open_vouched(Offer, payload, self._identity.check_binding)
        if offer.peer != key_of_peer(peer) or not offer.issued - 300 <= now_s < offer.expires:
            raise MalformedError("the offer is another's, or its time is over")
        return offer

    async def ask(self, peer: PeerId, *, release: Cid, size_bytes: int, until_s: int, nonce: bytes) -> Pledge:
        """Return an operator's signed pledge for a release, checked against what was asked.

        Raises:
            PledgeRefusedError: it does not pledge; the answer says why.
            P2PError, MalformedError, MarinaError: no answer, a bad one, or a bad binding.
        """
        identity = self._identity
        ask = Ask(
            account=identity.account,
            peer=identity.signer.public_key,
            operator=key_of_peer(peer),
            release_cid=release,
            bytes=size_bytes,
            until=until_s,
            nonce=nonce,
        )
        data = vouch(ask, identity.signer, identity.binding())
        _, payload = await self._request(peer, PledgeRequest(Kind.ASK.value, b"", len(data)), data)
        pledge = open_vouched(Pledge, payload, identity.check_binding)
        wanted = (key_of_peer(peer), bytes(release), nonce)
        if (pledge.peer, pledge.release_cid, pledge.nonce) != wanted:
            raise PeerMisbehavedError("the pledge is for something else than was asked")
        if pledge.bytes < size_bytes or pledge.until < until_s:
            raise PeerMisbehavedError("the pledge is for less than was asked")
        return pledge

    async def status(self, peer: PeerId, release: Cid) -> tuple[Progress, int]:
        """Return how far an operator says it is, and the bytes that it says it has.

        Raises:
            PledgeRefusedError: UNKNOWN when it has no pledge for the release.
            P2PError, MalformedError: no answer or a bad one.
        """
        reply, _ = await self._request(peer, PledgeRequest(Kind.STATUS.value, release, 0))
        return Progress(reply.progress), reply.have_bytes

    async def _request(
        self, peer: PeerId, request: PledgeRequest, payload: bytes = b""
    ) -> tuple[PledgeReply, bytes]:
        with trio.move_on_after(self._timeout_s):
            async with await self._host.open_stream(peer, PROTOCOL) as stream:
                await stream.write(pack(encode_record(request)) + payload)
                reader = FrameReader(stream, header_bytes_max=_HEADER_BYTES_MAX, frame_timeout_s=_FRAME_S)
                header = await reader.header(self._timeout_s)
                if header is None:
                    raise PeerGoneError("the operator ended the stream without an answer")
                reply = decode_reply(header)
                answer = await reader.payload(reply.length) if reply.length else b""
            if reply.answer != Answer.OK:
                raise PledgeRefusedError(Answer(reply.answer))
            if (request.kind != Kind.STATUS) != bool(answer):
                raise MalformedError("the operator's answer lacks its record, or has one too many")
            return reply, answer
        raise PeerStalledError(f"the operator did not answer within {self._timeout_s:g} s")
