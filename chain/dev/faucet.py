"""Test coins for everybody: at most 100 a day for an address, by a real transaction."""

from __future__ import annotations

from chain.dev.engine import COIN_WEI, Engine
from chain.dev.faults import INVALID_PARAMS, LIMIT_EXCEEDED, RpcFault
from chain.dev.fees import TIP_WEI, next_base_fee
from chain.dev.signing import sign_transaction

DAILY_WEI = 100 * COIN_WEI
_DAY_S = 86_400
_TRANSFER_GAS = 100_000
"""More than 21,000, so that a contract that takes coins can be given some."""


class Faucet:
    """Gives test coins; what it gave is in the chain's database, days are days of the chain's time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def give(self, account: bytes, wei: int | None) -> bytes:
        """Send coins and return the transaction's hash; it is mined.

        Args:
            account: 20 bytes.
            wei: how much; None for all that the account can still have today.

        Raises:
            RpcFault: the account had its 100 coins today, or asks for more than is left, or for none.
        """
        engine = self._engine
        day = engine.now_s() // _DAY_S
        given_wei = engine.store.given_wei(account, day)
        left_wei = DAILY_WEI - given_wei
        asked_wei = left_wei if wei is None else wei
        if asked_wei > left_wei or left_wei == 0:
            raise RpcFault(
                LIMIT_EXCEEDED,
                f"the faucet gives an address {DAILY_WEI // COIN_WEI} test coins a day: "
                f"0x{account.hex()} can have {left_wei / COIN_WEI:g} more today",
            )
        if asked_wei == 0:
            raise RpcFault(INVALID_PARAMS, "ask the faucet for more than nothing")
        return engine.send(
            self._signed(account, asked_wei),
            also=lambda: engine.store.set_given_wei(account, day, given_wei + asked_wei),
        )

    def _signed(self, account: bytes, wei: int) -> bytes:
        head = self._engine.head()
        return sign_transaction(
            self._engine,
            self._engine.faucet_key(),
            to=account,
            value=wei,
            data=b"",
            gas=_TRANSFER_GAS,
            max_fee_wei=2 * next_base_fee(head) + TIP_WEI,
        )
