"""From what the owner wants to what the owner confirms, and from there to the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.amount import Currency, format_amount, parse_amount
from chain.draft import Draft
from chain.errors import RevertedError
from chain.fees import offer
from chain.journal import State, Transaction
from marina.errors import NetworkError, UsageError
from marina.ids import Account, account_text
from node.chain.confirmations import Pending
from node.chain.service import ChainService, Money

_STATES = {
    State.PLANNED: "waits",
    State.SIGNED: "pending",
    State.PENDING: "pending",
    State.MINED: "mined",
    State.CONFIRMED: "confirmed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.REFUSED: "failed",
}


async def quote(
    service: ChainService,
    drafts: Sequence[Draft],
    account: Account,
    *,
    max_fee: str | None,
    is_offline: bool = False,
    is_dry: bool = False,
    names: Mapping[str, Account] | None = None,
) -> dict[str, Any]:
    """Try transactions without sending them, and return what the owner is asked to confirm.

    Args:
        service: the node's chain.
        drafts: in their order.
        account: pays and signs.
        max_fee: the most that all network fees together may be, as people write it; None for the policy's.
        is_offline: the chain does not answer, and they may wait for it: nothing is tried.
        is_dry: only to be shown: there is nothing to confirm.
        names: ENS names that were typed and what they stand for; each is shown beside its whole address.

    Raises:
        UsageError: there is nothing to do.
        RevertedError, InsufficientFundsError, SpendingLimitError: it would fail or is not allowed.
        NetworkError: the chain does not answer.
    """
    if not drafts:
        raise UsageError("nothing to do: it is so already")
    chain = service.money()
    coin = chain.coin
    cap = None if max_fee is None else parse_amount(max_fee, (coin,), default=coin).value
    await chain.guard.check([each for draft in drafts for each in draft.spend])
    await chain.sender.load()
    fees: int | None = 0
    left = cap
    rows: list[dict[str, Any]] = []
    for number, draft in enumerate(drafts):
        gas, fee_wei = None, None
        if not is_offline:
            gas, fee_wei = await _cost(chain, draft, account, left, is_first=number == 0)
            left = None if left is None else max(0, left - fee_wei)
        fees = None if fees is None or fee_wei is None else fees + fee_wei
        same = chain.journal.live_with(draft.key)
        rows.append(
            {
                "under_way": None if same is None or not same.attempts else same.id.hex(),
                "what": draft.what,
                "summary": _with_names(draft, names or {}),
                "contract": service.name_of(draft.to),
                "to": None if draft.to is None else account_text(draft.to),
                "value": format_amount(draft.value, coin),
                "data": "0x" + draft.data.hex(),
                "gas": gas,
                "fee_max": None if fee_wei is None else format_amount(fee_wei, coin),
            }
        )
    if fees is None:
        fees = cap
    spend = [format_amount(each.value, each.currency) for draft in drafts for each in draft.spend]
    lefts = [
        f"{format_amount(await chain.guard.left(currency), currency)}"
        for currency in dict.fromkeys(each.currency for draft in drafts for each in draft.spend)
    ]
    pending = Pending(account, tuple(drafts), fees if cap is None else cap)
    return {
        "confirm": None if is_dry else service.confirmations.offer(pending),
        "account": account_text(account),
        "chain": chain.profile.name,
        "transactions": rows,
        "spend": spend,
        "left_today": lefts,
        "fee_max": None if fees is None else format_amount(fees, coin),
        "waits": is_offline,
    }


async def submit(service: ChainService, code: str, *, wait_s: float) -> list[dict[str, Any]]:
    """Send what a code confirms, one after another, and return the transactions as they stand then.

    A later one that needs what an earlier one does is sent once that one is mined.

    Raises:
        NotFoundError: the code is not good any more.
        NetworkError: an earlier one is not mined in time; those behind it were not sent.
        MarinaError: one failed; those behind it were not sent.
    """
    pending = service.confirmations.take(code)
    chain = service.money()
    done: list[Transaction] = []
    for draft in pending.drafts:
        ready = service.permitted(draft, pending.account)
        try:
            sent = await chain.sender.submit(ready, account=pending.account, max_fee_wei=_left(pending, done))
        except RevertedError:
            if not done:
                raise
            done = [await _mined(chain, each, wait_s) for each in done]
            sent = await chain.sender.submit(ready, account=pending.account, max_fee_wei=_left(pending, done))
        done.append(sent)
    return [transaction_json(service, await chain.sender.get(each.id)) for each in done]


def _left(pending: Pending, sent: Sequence[Transaction]) -> int | None:
    """Return what is left of the bound on all network fees together, None without one."""
    if pending.max_fee_wei is None:
        return None
    return max(0, pending.max_fee_wei - sum(_fee_most(each) for each in sent))


def _fee_most(sent: Transaction) -> int:
    """Return what a transaction's network fee was, or the most that it can still be."""
    if sent.fee_paid_wei:
        return int.from_bytes(sent.fee_paid_wei)
    return sent.attempts[-1].fee_wei * sent.gas if sent.attempts else 0


async def _mined(chain: Money, sent: Transaction, wait_s: float) -> Transaction:
    found = await chain.sender.wait(sent.id, timeout_s=wait_s)
    if not found.confirmations:
        raise NetworkError(
            f"transaction {sent.id.hex()[:12]} is not mined yet, and what comes behind it was not sent: "
            f"wait with 'marina tx wait {sent.id.hex()[:12]}' and run the command again"
        )
    return found


def transaction_json(service: ChainService, row: Transaction) -> dict[str, Any]:
    """Return a transaction as the API shows it."""
    coin, profile = service.money().coin, service.money().profile
    known = service.known_tokens()
    spends = [
        format_amount(
            each.units, coin if not each.token else known.get(Account(each.token), _raw(each.token))
        )
        for each in row.spends
    ]
    newest = row.mined or (row.attempts[-1].hash if row.attempts else b"")
    status = _STATES[State(row.state)]
    if row.state == State.PENDING and row.reorgs and not row.block_hash:
        status = "re-orged"
    return {
        "id": row.id.hex(),
        "hash": "0x" + newest.hex() if newest else None,
        "status": status,
        "confirmations": row.confirmations,
        "confirmations_wanted": profile.confirmations,
        "what": row.what,
        "summary": row.summary,
        "account": account_text(Account(row.account)),
        "to": account_text(Account(row.to)) if row.to else None,
        "created": account_text(Account(row.created)) if row.created else None,
        "value": format_amount(row.value_wei, coin),
        "spend": spends,
        "nonce": row.nonce,
        "attempts": len(row.attempts),
        "block": row.block_number or None,
        "gas_used": row.gas_used or None,
        "fee": format_amount(int.from_bytes(row.fee_paid_wei), coin) if row.fee_paid_wei else None,
        "reorgs": row.reorgs,
        "reason": row.reason or None,
        "created_s": row.created_s,
    }


def _with_names(draft: Draft, names: Mapping[str, Account]) -> str:
    """Return a draft's summary with every name that concerns it beside the whole address."""
    summary = draft.summary
    for name, account in names.items():
        address = account_text(account)
        if address in summary:
            summary = summary.replace(address, f"{name} ({address})")
        elif bytes(account) in draft.data:
            summary += f"; {name} is {address}"
    return summary


async def _cost(
    chain: Money, draft: Draft, account: Account, cap: int | None, *, is_first: bool
) -> tuple[int, int]:
    """Return the gas limit that a transaction would get, and the most that its network fee can be."""
    if draft.permit is not None:  # it can be tried once the permit is signed, with the owner's yes
        return await _guess(chain, draft, cap)
    try:
        found = await chain.sender.simulate(draft, account, cap)
    except RevertedError:
        if is_first:
            raise
        # It needs what the one ahead of it does; it is tried again before it is signed.
        return await _guess(chain, draft, cap)
    return found.gas, found.fee_wei


async def _guess(chain: Money, draft: Draft, cap: int | None) -> tuple[int, int]:
    fee = offer(await chain.gateway.fees(), chain.profile, draft.gas_guess, cap)
    return draft.gas_guess, fee.cost_wei(draft.gas_guess)


def _raw(token: bytes) -> Currency:
    return Currency(f"units of 0x{token.hex()}", 0, Account(token))
