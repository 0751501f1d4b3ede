"""Reads what an artist asks for when a release is sold: prices, splits, guardians, delegates."""

from __future__ import annotations

from collections.abc import Sequence

from chain.market.selling import NewTerm
from marina.errors import MalformedError, UsageError
from marina.ids import Account
from node.api.errors import BadRequestError
from node.api.fields import Fields
from node.chain.service import ChainService
from node.chain.things import parse_splits, parse_term
from node.selling.choosing import Wanted
from node.selling.desk import DEFAULT_K, DEFAULT_N, Sale
from node.selling.sold import Sold
from storage.content.guarded import KeyHolder
from storage.content.holder_text import parse_holder
from storage.content.keybox import DELEGATES_MAX, GUARDIANS_MAX

_TERMS_MAX = 8
_SPLITS_MAX = 32
_TEXT_BYTES_MAX = 255
_HOLDER_BYTES_MAX = 160
_FINALITY = {"0": 0, "1": 1, "2": 2, "auto": None}
_UNIX_MAX = 2**40


async def read_sale(
    fields: Fields, artist: Account, chain: ChainService, names: dict[str, Account] | None = None
) -> Sale:
    """Return the terms of a sale.

    Args:
        fields: ``prices`` and ``track_prices`` (lists of price, period, kind), ``splits``, ``royalty_bps``,
            ``finality``.
        artist: gets what the splits leave over.
        chain: knows the currencies.
        names: ENS names that were typed are put there.

    Raises:
        BadRequestError, UsageError: something is not what it must be.
        NetworkError: the chain does not answer.
    """
    shares = fields.texts("splits", items_max=_SPLITS_MAX, bytes_max=_TEXT_BYTES_MAX + 16)
    return Sale(
        prices=await _terms(fields, "prices", chain),
        track_prices=await _terms(fields, "track_prices", chain),
        splits=await parse_splits(shares, artist, chain, names),
        royalty_bps=fields.whole("royalty_bps", 0, low=0, high=5_000),
        finality=_FINALITY[fields.choice("finality", tuple(_FINALITY), "auto")],
    )


def read_wanted(fields: Fields) -> Wanted:
    """Return who shall keep the keys: ``guardians``, ``threshold``, ``delegates``, ``not_before``.

    Raises:
        BadRequestError, UsageError: they make no keybox.
    """
    wanted = _wanted(fields, DEFAULT_N, DEFAULT_K, 0)
    wanted.check()
    return wanted


def read_redrawn(fields: Fields, tiers: Sequence[Sold]) -> Wanted:
    """Return who shall keep the keys from now on; what is not said stays as it is.

    It may make no keybox by itself: delegates in force are added later.

    Raises:
        BadRequestError, UsageError: a value is not what it must be, or nothing is sold.
    """
    if not tiers:
        raise UsageError("nothing in this release is sold: its keys are public")
    box = tiers[0].box
    return _wanted(fields, box.n, box.k or DEFAULT_K, box.not_before)


def _wanted(fields: Fields, n: int, k: int, not_before: int) -> Wanted:
    guardians = fields.whole("guardians", n, low=0, high=GUARDIANS_MAX)
    return Wanted(
        n=guardians,
        k=fields.whole("threshold", min(k, guardians), low=0, high=GUARDIANS_MAX),
        delegates=_delegates(fields),
        not_before=fields.whole("not_before", not_before, low=0, high=_UNIX_MAX),
    )


def _delegates(fields: Fields) -> tuple[KeyHolder, ...]:
    texts = fields.texts("delegates", items_max=DELEGATES_MAX, bytes_max=_HOLDER_BYTES_MAX)
    return tuple(read_holder(each) for each in texts)


def read_holder(text: str) -> KeyHolder:
    """Return the delegate that a text of ``marina guardian id`` names; UsageError for anything else."""
    try:
        return parse_holder(text)
    except MalformedError as err:
        raise UsageError(str(err)) from err


async def _terms(fields: Fields, name: str, chain: ChainService) -> tuple[NewTerm, ...]:
    given = fields.raw().get(name)
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > _TERMS_MAX:
        raise BadRequestError(f"'{name}' must be a list of at most {_TERMS_MAX} terms")
    terms: list[NewTerm] = []
    for each in given:
        if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
            raise BadRequestError(f"'{name}' must hold objects with price, period and kind")
        price, period, kind = (each.get(key, rest) for key, rest in _DEFAULTS)
        terms.append(await parse_term(chain.get(), price, period=period, kind=kind))
    return tuple(terms)


_DEFAULTS = (("price", ""), ("period", "forever"), ("kind", "stream"))
