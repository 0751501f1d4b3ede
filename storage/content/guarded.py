"""Keyboxes of paid tiers: made by the artist, opened by guardians and delegates, joined by the buyer."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from marina.errors import DamagedError, MalformedError, NotFoundError
from marina.secret import Secret
from storage.content.envelope import KeyScope, open_envelope, seal
from storage.content.keybox import MODE_DELEGATES, MODE_GUARDIANS, DelegateKey, GuardianShare, Keybox
from storage.content.keys import KeyName, check_commitment
from storage.content.shamir import join, split


class FraudError(DamagedError):
    """Shares that all fit the artist's own commitments do not give the committed key: a public proof."""

    code = "fraud"


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A guardian or delegate.

    Attributes:
        peer_key: raw Ed25519 key of its node.
        hpke_key: raw X25519 key that is sealed to.
    """

    peer_key: bytes
    hpke_key: bytes


def guarded_keybox(
    name: KeyName,
    key: Secret[bytes],
    kc: bytes,
    *,
    chain_id: int,
    registry: bytes,
    epoch: int,
    k: int,
    guardians: Sequence[KeyHolder],
    delegates: Sequence[KeyHolder] = (),
    not_before: int = 0,
    random: Callable[[int], bytes],
) -> Keybox:
    """Return the keybox of a paid tier; each call draws another polynomial.

    Args:
        name: which key it is.
        key: K.
        kc: its commitment.
        chain_id: of the chain that it is anchored on.
        registry: address of the TrackRegistry there, 20 bytes.
        epoch: above that of the tier's keybox before.
        k: guardians that give the key together; ignored without guardians.
        guardians: who gets a share, the first with x = 1.
        delegates: who gets the whole key.
        not_before: Unix second before which nobody releases it.
        random: returns so many random bytes.

    Raises:
        MalformedError: somebody is named twice or has no proper key, or nobody is named.
        ValueError: not 1 ≤ k ≤ number of guardians.
    """
    scope = KeyScope(chain_id, registry, name.track_id, name.tier, epoch)
    shares: list[GuardianShare] = []
    if guardians:
        secrets = split(key, k=k, n=len(guardians), random=random)
        for x, (holder, share) in enumerate(zip(guardians, secrets, strict=True), 1):
            envelope = seal(holder.hpke_key, share, scope.share_info(x))
            shares.append(GuardianShare(x, holder.peer_key, scope.share_commit(x, share), envelope))
    return Keybox(
        chain_id=chain_id,
        registry=registry,
        track_id=name.track_id,
        tier=name.tier,
        epoch=epoch,
        mode=MODE_GUARDIANS if shares else MODE_DELEGATES,
        k=k if shares else 0,
        n=len(shares),
        kc=kc,
        not_before=not_before,
        shares=tuple(shares),
        delegates=tuple(
            DelegateKey(each.peer_key, seal(each.hpke_key, key, scope.full_info())) for each in delegates
        ),
    )


def scope_of(box: Keybox) -> KeyScope:
    """Return what a keybox says it belongs to; who releases keys compares it with the chain."""
    return KeyScope(box.chain_id, box.registry, box.track_id, box.tier, box.epoch)


def fits(box: Keybox, x: int, share: Secret[bytes]) -> bool:
    """Return whether a share is the one that the keybox commits to."""
    for each in box.shares:
        if each.x == x:
            return hmac.compare_digest(scope_of(box).share_commit(x, share), each.share_commit)
    return False


def open_share(box: Keybox, peer_key: bytes, private_key: X25519PrivateKey) -> tuple[int, Secret[bytes]]:
    """Return a guardian's (x, share).

    Raises:
        NotFoundError: it has no share in this keybox.
        DamagedError: its envelope does not open, or holds something else than was committed to.
    """
    for each in box.shares:
        if each.guardian == peer_key:
            share = open_envelope(private_key, each.envelope, scope_of(box).share_info(each.x))
            if not fits(box, each.x, share):
                raise DamagedError("the envelope holds another share than the keybox commits to")
            return each.x, share
    raise NotFoundError("this guardian has no share in the keybox")


def open_full(box: Keybox, peer_key: bytes, private_key: X25519PrivateKey) -> Secret[bytes]:
    """Return the whole key as a delegate has it; whether it fits ``kc`` checks who knows its name.

    Raises:
        NotFoundError: it is no delegate in this keybox.
        DamagedError: its envelope does not open, or holds no key.
    """
    for each in box.delegates:
        if each.delegate == peer_key:
            key = open_envelope(private_key, each.envelope, scope_of(box).full_info())
            if len(key.reveal()) != 32:
                raise DamagedError("the envelope of a delegate does not hold a key")
            return key
    raise NotFoundError("this node is no delegate in the keybox")


def join_key(box: Keybox, name: KeyName, shares: Mapping[int, Secret[bytes]]) -> Secret[bytes]:
    """Return the key of a tier from k shares.

    Args:
        box: the anchored keybox.
        name: which key it is.
        shares: share by x, at least k.

    Raises:
        DamagedError: the keybox is of another track, a share does not fit it, or they are too few.
        FraudError: all fit, and yet the key is not the committed one.
    """
    if (box.track_id, box.tier) != (name.track_id, name.tier):
        raise DamagedError("the keybox belongs to another track or tier")
    if not 0 < box.k <= len(shares) or not all(fits(box, x, share) for x, share in shares.items()):
        raise DamagedError("too few shares, or one that is not what the keybox commits to")
    chosen = {x: shares[x] for x in sorted(shares)[: box.k]}
    try:
        key = join(chosen)
        check_commitment(key, name, box.kc)
    except (DamagedError, MalformedError) as err:
        raise FraudError(
            "the artist's keybox is false: its shares fit their commitments and do not give the committed key"
        ) from err
    return key
