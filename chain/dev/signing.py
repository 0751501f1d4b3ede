"""Transactions that the chain itself sends: the faucet's, and those of the first blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_keys.datatypes import PrivateKey

from chain.dev.fees import TIP_WEI
from chain.dev.vm import CHAIN_ID

if TYPE_CHECKING:
    from chain.dev.engine import Engine


def sign_transaction(
    engine: Engine, key: bytes, *, to: bytes | None, value: int, data: bytes, gas: int, max_fee_wei: int
) -> bytes:
    """Return a signed EIP-1559 transaction with the account's next nonce.

    Args:
        engine: open.
        key: 32 bytes.
        to: 20 bytes, or None to create a contract.
        value: base units.
        data: call data or creation code.
        gas: limit.
        max_fee_wei: per unit of gas.
    """
    signer = PrivateKey(key)
    sender = signer.public_key.to_canonical_address()
    unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=CHAIN_ID,
        nonce=engine.state_at(engine.head()).get_nonce(sender),
        max_priority_fee_per_gas=min(TIP_WEI, max_fee_wei),
        max_fee_per_gas=max_fee_wei,
        gas=gas,
        to=to or b"",
        value=value,
        data=data,
        access_list=[],
    )
    return bytes(unsigned.as_signed_transaction(signer).encode())
