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

from chain.artifacts import artifact, decode_result, encode_call, encode_creation, topic
from chain.contracts import ContractSet, create_address
from chain.errors import ChainUnavailableError, RpcError
from marina.errors import DamagedError, MalformedError
from marina.ids import Account, account_text

TIMELOCK_DELAY_S = 2 * 86_400
_ANYONE = Account(bytes(20))
_DEFAULT_ADMIN = bytes(32)
_PROPOSER = bytes(keccak(b"PROPOSER_ROLE"))
_CANCELLER = bytes(keccak(b"CANCELLER_ROLE"))
_EXECUTOR = bytes(keccak(b"EXECUTOR_ROLE"))
_VERBS = {
    _PROPOSER: "propose",
    _CANCELLER: "cancel",
    _EXECUTOR: "execute",
    _DEFAULT_ADMIN: "administer",
}
_GRANTED = "RoleGranted"
_LOG_REQUESTS_MAX = 2000


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
    addresses back, the timelock's delay, and who was ever given a role in it. A constructor of other creation
    code could have left more in storage (tokens for its maker, say) that no endpoint lists: who deployed a
    set is still to be trusted for that.

    Args:
        rpc: of the chain.
        contracts: what is there.
        deployer: who deployed it, if known: must have no role.

    Raises:
        DamagedError: something differs; the sentence names it.
        RpcError: the endpoint does not tell the timelock's history.
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
    (delay_s,) = await _read(rpc, contracts, "TimelockController", "getMinDelay")
    if not isinstance(delay_s, int) or delay_s < TIMELOCK_DELAY_S:
        raise DamagedError(f"the timelock waits {delay_s} seconds only, not {TIMELOCK_DELAY_S}")
    wanted_roles = {
        (_PROPOSER, contracts.governor),
        (_CANCELLER, contracts.governor),
        (_EXECUTOR, _ANYONE),
        (_DEFAULT_ADMIN, contracts.timelock),
    }
    asked = wanted_roles | await _ever_granted(rpc, contracts.timelock)
    if deployer is not None:
        asked |= {(role, deployer) for role in _VERBS}
    for role, who in sorted(asked):
        (has,) = await _read(rpc, contracts, "TimelockController", "hasRole", role, bytes(who))
        may = (role, who) in wanted_roles
        if has is not may:
            verb = _VERBS.get(role, f"use the role 0x{role.hex()}")
            raise DamagedError(f"{account_text(who)} may {'not ' if may else ''}{verb} in the timelock")


async def _ever_granted(rpc: Caller, timelock: Account) -> set[tuple[bytes, Account]]:
    """Return (role, account) of every grant in the timelock's history, revoked since or not."""
    granted = topic(next(each for each in artifact("TimelockController").abi if each.get("name") == _GRANTED))
    head = _number_of(await rpc.call("eth_blockNumber", []))
    spans, found = [(0, head)], set[tuple[bytes, Account]]()
    for _ in range(_LOG_REQUESTS_MAX):
        if not spans:
            return found
        low, high = spans.pop()
        query = {
            "address": account_text(timelock),
            "topics": ["0x" + granted.hex()],
            "fromBlock": hex(low),
            "toBlock": hex(high),
        }
        try:
            logs = await rpc.call("eth_getLogs", [query])
        except RpcError:
            if low == high:
                raise
            middle = (low + high) // 2  # endpoints bound how many blocks they look through
            spans += [(middle + 1, high), (low, middle)]
            continue
        found |= {_grant_of(each) for each in logs} if isinstance(logs, list) else {_grant_of(logs)}
    raise ChainUnavailableError(
        "the chain's endpoint looks through too few blocks at once to check the timelock: set another in "
        "chain.endpoints"
    )


def _wiring(made: ContractSet) -> list[tuple[str, str, Account]]:
    return [
        ("MarinaToken", "minter", made.timelock),
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
    answer = _bytes_of(await rpc.call("eth_call", [call, "latest"]))
    try:
        return decode_result(name, function, answer, len(args))
    except MalformedError as err:
        raise DamagedError(f"{name} does not answer {function} as it should") from err


def _grant_of(log: object) -> tuple[bytes, Account]:
    topics = log.get("topics") if isinstance(log, dict) else None
    if not isinstance(topics, list) or len(topics) != 4:
        raise DamagedError("the endpoint answered something that is no grant of a role")
    role, who = _bytes_of(topics[1]), _bytes_of(topics[2])
    if len(role) != 32 or len(who) != 32:
        raise DamagedError("the endpoint answered something that is no grant of a role")
    return role, Account(who[12:])


def _bytes_of(answer: object) -> bytes:
    try:
        return bytes.fromhex(str(answer).removeprefix("0x"))
    except ValueError as err:
        raise DamagedError("the endpoint answered something that is no bytes") from err


def _number_of(answer: object) -> int:
    try:
        return int(str(answer), 16)
    except ValueError as err:
        raise DamagedError("the endpoint answered something that is no number") from err
