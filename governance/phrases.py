"""The sentences for calls that are neither a parameter nor a switch: payments, roles, guardians."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from eth_hash.auto import keccak

from chain.amount import UINT256_MAX
from governance.glossary import DecodedCall, Glossary

Phrase: TypeAlias = tuple[str, tuple[str, ...]]
"""The sentence and what to think about first."""
ROLE_WORDS: Mapping[bytes, str] = {
    bytes(32): "rule over every role of",
    bytes(keccak(b"PROPOSER_ROLE")): "queue calls in",
    bytes(keccak(b"EXECUTOR_ROLE")): "execute calls of",
    bytes(keccak(b"CANCELLER_ROLE")): "cancel calls of",
}


def _transfer(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    to, units = decoded.args[0], decoded.args[1]
    amount = glossary.amount(decoded.call.target, units)
    return f"Pay {amount} from the treasury to {glossary.account(to)}", ()


def _approve(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    to, units = decoded.args[0], decoded.args[1]
    everything = units >= UINT256_MAX >> 1
    amount = "everything, for ever," if everything else "up to " + glossary.amount(decoded.call.target, units)
    text = (
        f"Let {glossary.account(to)} take {amount} from the treasury's {glossary.symbol(decoded.call.target)}"
    )
    return text, (f"{glossary.account(to)} could take the money at any time",)


def _transfer_from(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    source, to, units = decoded.args
    amount = glossary.amount(decoded.call.target, units)
    return f"Move {amount} from {glossary.account(source)} to {glossary.account(to)}", ()


def _mint(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    to, units = decoded.args[0], decoded.args[1]
    amount = glossary.amount(decoded.call.target, units)
    return f"Create {amount} for {glossary.account(to)}", ("new MMT dilutes everybody else's votes",)


def _burn(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    return f"Destroy {glossary.amount(decoded.call.target, decoded.args[0])} of the treasury", ()


def _delegate(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    to = decoded.args[0]
    text = f"Let {glossary.account(to)} vote with the treasury's MMT"
    return text, ("the treasury's votes would go to one account",)


def _remove_guardian(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    who = decoded.args[0]
    return f"Remove the key guardian {glossary.account(who)}; its bond unlocks after the usual wait", ()


def _pause(_: DecodedCall, __: Glossary) -> Phrase:
    return "Stop new purchases for a week; licences, earnings and withdrawals go on", ()


def _unpause(_: DecodedCall, __: Glossary) -> Phrase:
    return "Allow new purchases again", ()


def _withdraw(decoded: DecodedCall, glossary: Glossary) -> Phrase:
    who, token = decoded.args[0], decoded.args[1]
    return f"Pay out the {glossary.symbol(token)} that licences earned for {glossary.account(who)}", ()


def _role(verb: str) -> Callable[[DecodedCall, Glossary], Phrase]:
    def write(decoded: DecodedCall, glossary: Glossary) -> Phrase:
        role, who = decoded.args[0], decoded.args[1]
        power = ROLE_WORDS.get(role, f"use the role 0x{role.hex()} of")
        subject = "anybody" if who == bytes(20) else glossary.account(who)
        text = f"{verb} {subject} to {power} the timelock, which holds the treasury"
        return text, ("this changes who can act in the DAO's name",)

    return write


def _cancel_operation(decoded: DecodedCall, _: Glossary) -> Phrase:
    text = f"Stop the queued operation 0x{decoded.args[0].hex()} of the timelock"
    return text, ("another proposal that was carried would not be executed",)


PHRASES: Mapping[tuple[str, str], Callable[[DecodedCall, Glossary], Phrase]] = {
    ("MarinaToken", "transfer"): _transfer,
    ("MarinaToken", "approve"): _approve,
    ("MarinaToken", "transferFrom"): _transfer_from,
    ("MarinaToken", "mint"): _mint,
    ("MarinaToken", "burn"): _burn,
    ("MarinaToken", "delegate"): _delegate,
    ("GuardianRegistry", "remove"): _remove_guardian,
    ("MusicLicensing", "pause"): _pause,
    ("MusicLicensing", "unpause"): _unpause,
    ("MusicLicensing", "withdraw"): _withdraw,
    ("TimelockController", "grantRole"): _role("Allow"),
    ("TimelockController", "revokeRole"): _role("Forbid"),
    ("TimelockController", "renounceRole"): _role("Let go the right of"),
    ("TimelockController", "cancel"): _cancel_operation,
}
"""The sentence of a function, by contract and function name."""
