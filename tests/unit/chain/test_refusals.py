from __future__ import annotations

import pytest

from chain.errors import RpcError
from chain.refusals import Refusal, refusal, sentence

GETH = [
    ("already known", Refusal.KNOWN),
    ("nonce too low: next nonce 5, tx nonce 4", Refusal.TAKEN),
    ("replacement transaction underpriced: new tx gas fee cap 2 <= 1", Refusal.OUTBID),
    ("transaction underpriced: gas tip cap 1, minimum needed 2", Refusal.FEE_LOW),
    ("max fee per gas less than block base fee: address 0x, maxFeePerGas: 1, baseFee: 2", Refusal.FEE_LOW),
    ("insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1", Refusal.POOR),
    ("intrinsic gas too low: gas 1, minimum needed 21000", Refusal.NEVER),
    ("insufficient gas for floor data gas cost: gas 1, minimum needed 2", Refusal.NEVER),
    ("exceeds block gas limit", Refusal.NEVER),
    ("max initcode size exceeded: code size 1, limit 2", Refusal.NEVER),
    ("oversized data: transaction size 1, limit 2", Refusal.NEVER),
    ("invalid sender", Refusal.NEVER),
    ("invalid chain id for signer: have 1 want 2", Refusal.NEVER),
    ("sender not an eoa: address 0x, codehash: 0x", Refusal.NEVER),
    ("txpool is full", Refusal.FULL),
    ("tx fee (1.20 ether) exceeds the configured cap (1.00 ether)", Refusal.FEE_HIGH),
    ("nonce too high", Refusal.UNCLEAR),
    ("in-flight transaction limit reached for delegated accounts", Refusal.UNCLEAR),
]
ANVIL = [
    ("transaction already imported", Refusal.KNOWN),
    ("nonce too low", Refusal.TAKEN),
    ("replacement transaction underpriced", Refusal.OUTBID),
    ("max fee per gas less than block base fee", Refusal.FEE_LOW),
    ("Insufficient funds for gas * price + value", Refusal.POOR),
    ("intrinsic gas too low", Refusal.NEVER),
    ("intrinsic gas too high -- CallGasCostMoreThanGasLimit", Refusal.NEVER),
    ("invalid chain id for signer", Refusal.NEVER),
]
OTHERS = [
    ("AlreadyKnown", Refusal.KNOWN),
    ("Known transaction", Refusal.KNOWN),
    ("OldNonce, Current nonce: 5, nonce of rejected tx: 4", Refusal.TAKEN),
    ("Nonce too low", Refusal.TAKEN),
    ("ReplacementNotAllowed", Refusal.OUTBID),
    ("could not replace existing tx", Refusal.OUTBID),
    ("FeeTooLow, MaxFeePerGas too low", Refusal.FEE_LOW),
    ("FeeTooLowToCompete", Refusal.FEE_LOW),
    ("Gas price below current base fee", Refusal.FEE_LOW),
    ("InsufficientFunds, Account balance: 1, cumulative cost: 2", Refusal.POOR),
    ("Upfront cost exceeds account balance", Refusal.POOR),
    ("GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2", Refusal.NEVER),
    ("Transaction gas limit exceeds block gas limit", Refusal.NEVER),
    ("internal error", Refusal.UNCLEAR),
    ("", Refusal.UNCLEAR),
]


@pytest.mark.parametrize(("words", "kind"), [*GETH, *ANVIL, *OTHERS])
def test_each_clients_words_are_understood(words, kind):
    assert refusal(RpcError(-32000, words)) is kind
    assert refusal(RpcError(-32003, words.upper())) is kind


def test_only_what_time_does_not_heal_is_final():
    assert {each for each in Refusal if each.is_final} == {Refusal.POOR, Refusal.FEE_HIGH, Refusal.NEVER}


def test_sentences_keep_the_endpoints_words_where_they_say_more():
    assert sentence(RpcError(0, "intrinsic gas too low")) == "no block can take it (intrinsic gas too low)"
    assert sentence(RpcError(0, "nobody knows")) == "it was not taken yet (nobody knows)"
    poor = sentence(RpcError(0, "insufficient funds for gas"))
    assert "does not hold the amount" in poor
    assert "insufficient" not in poor
