"""The deployment of the whole contract set, and the proof that a set on a chain is this one.

Every address follows from the deployer and its nonce, so the plan is pure: it can be shown, run again
after an interruption, and checked without trusting who ran it. Nothing can be changed afterwards: the
deployer gives up its only role in the last step, and the timelock obeys the governor alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eth_hash.auto import keccak

from chain.artifacts import artifact, decode_result, encode_call, encode_creation
from chain.contracts import ContractSet, create_address
from marina.errors import DamagedError
from marina.ids import Account, account_text

TIMELOCK_DELAY_S = 2 * 86_400
_ANYONE = Account(bytes(20))
_DEFAULT_ADMIN = bytes(32)
_PROPOSER = bytes(keccak(b"PROPOSER_ROLE"))
_CANCELLER = bytes(keccak(b"CANCELLER_ROLE"))
_EXECUTOR = bytes(keccak(b"EXECUTOR_ROLE"))


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of a deployment.

    Attributes:
        nonce: the deployer's nonce that it needs.
        summary: what it does, for people.
        to: called contract; None creates one.
        data: creation code with arguments, or call data.
    """

    nonce: int
    summary: str
    to: Account | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment: its transactions in order and the addresses that come of it."""

    steps: tuple[Step, ...]
    contracts: ContractSet


class Caller(Protocol):
    """The part of ``chain.rpc.RpcPool`` that verification needs."""

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the result of one JSON-RPC call."""
        ...


def plan_deployment(deployer: Account, first_nonce: int, genesis_holder: Account) -> Plan:
    """Return the transactions that deploy the set.

    Args:
        deployer: sends them all; has no power afterwards.
        first_nonce: its next nonce.
        genesis_holder: gets the 1,000,000 MMT of the beginning.
    """
    place = [create_address(deployer, first_nonce + each) for each in range(7)]
    made = ContractSet(*place)
    arguments: dict[str, tuple[object, ...]] = {
        "TimelockController": (TIMELOCK_DELAY_S, [], [bytes(_ANYONE)], bytes(deployer)),
        "MarinaToken": (bytes(genesis_holder), bytes(made.timelock)),
        "MarinaGovernor": (bytes(made.token), bytes(made.timelock)),
        "TrackRegistry": (bytes(made.timelock),),
        "MusicLicensing": (bytes(made.registry), bytes(made.timelock)),
        "TrackEditions": (bytes(made.registry), bytes(made.licensing)),
        "GuardianRegistry": (bytes(made.token), bytes(made.timelock)),
    }
    steps = [
        Step(first_nonce + index, f"create {name}", None, encode_creation(name, *args))
        for index, (name, args) in enumerate(arguments.items())
    ]
    after = (
        ("let the governor propose to the timelock", "grantRole", _PROPOSER, made.governor),
        ("let the governor cancel in the timelock", "grantRole", _CANCELLER, made.governor),
        ("give up the deployer's role for ever", "renounceRole", _DEFAULT_ADMIN, deployer),
    )
    for index, (summary, function, role, who) in enumerate(after):
        data = encode_call("TimelockController", function, role, bytes(who))
        steps.append(Step(first_nonce + 7 + index, summary, made.timelock, data))
    return Plan(tuple(steps), made)


async def verify_contracts(rpc: Caller, contracts: ContractSet, deployer: Account | None = None) -> None:
    """Check that the set on a chain is the one that this version of Marina carries.

    Compares the runtime code of each contract byte for byte (immutable values apart), reads the immutable
    addresses back, and the timelock's roles.

    Args:
        rpc: of the chain.
        contracts: what is there.
        deployer: who deployed it, if known: must have no role.

    Raises:
        DamagedError: something differs; the sentence names it.
        NetworkError: nobody answered.
    """
    for name, address in contracts.named().items():
        code = _bytes_of(await rpc.call("eth_getCode", [account_text(address), "latest"]))
        known = artifact(name)
        if len(code) != len(known.deployed) or known.masked(code) != known.masked(known.deployed):
            what = "no contract" if not code else "another contract"
            raise DamagedError(f"there is {what} where {name} should be ({account_text(address)})")
    for name, function, wanted in _wiring(contracts):
        (found,) = await _read(rpc, contracts, name, function)
        if str(found).lower() != account_text(wanted).lower():
            raise DamagedError(f"{name} is wired to {found} as its {function}, not to {account_text(wanted)}")
    roles = [
        ("propose", _PROPOSER, contracts.governor, True),
        ("cancel", _CANCELLER, contracts.governor, True),
        ("execute", _EXECUTOR, _ANYONE, True),
        ("administer", _DEFAULT_ADMIN, contracts.timelock, True),
    ]
    if deployer is not None:
        roles += [
            (verb, role, deployer, False)
            for verb, role in (("propose", _PROPOSER), ("cancel", _CANCELLER), ("administer", _DEFAULT_ADMIN))
        ]
    for verb, role, who, may in roles:
        (has,) = await _read(rpc, contracts, "TimelockController", "hasRole", role, bytes(who))
        if has is not may:
            raise DamagedError(f"{account_text(who)} may {'not ' if may else ''}{verb} in the timelock")


def _wiring(made: ContractSet) -> list[tuple[str, str, Account]]:
    return [
        ("MarinaGovernor", "token", made.token),
        ("MarinaGovernor", "timelock", made.timelock),
        ("TrackRegistry", "dao", made.timelock),
        ("MusicLicensing", "registry", made.registry),
        ("MusicLicensing", "dao", made.timelock),
        ("TrackEditions", "registry", made.registry),
        ("TrackEditions", "licensing", made.licensing),
        ("GuardianRegistry", "token", made.token),
        ("GuardianRegistry", "dao", made.timelock),
    ]


async def _read(
    rpc: Caller, contracts: ContractSet, name: str, function: str, *args: object
) -> tuple[object, ...]:
    call = {
        "to": account_text(contracts.named()[name]),
        "data": "0x" + encode_call(name, function, *args).hex(),
    }
    return decode_result(name, function, _bytes_of(await rpc.call("eth_call", [call, "latest"])), len(args))


def _bytes_of(answer: object) -> bytes:
    if not isinstance(answer, str):
        raise DamagedError("the endpoint answered something that is no bytes")
    return bytes.fromhex(answer.removeprefix("0x"))
