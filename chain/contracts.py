"""Where the contracts of a chain are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from eth_hash.auto import keccak

from marina.errors import MalformedError, NotFoundError
from marina.ids import Account, account_text, parse_account
from marina.jsontext import load_json

ZERO = Account(bytes(20))
"""Nobody; where a token is meant, the chain's own coin."""
BLOCK_MAX = 2**53 - 1
_FILE_BYTES_MAX = 16 << 10


@dataclass(frozen=True, slots=True)
class ContractSet:
    """The addresses of one deployment; each is 20 bytes."""

    timelock: Account
    token: Account
    governor: Account
    registry: Account
    licensing: Account
    editions: Account
    guardians: Account

    def named(self) -> dict[str, Account]:
        """Return address by contract name, in the order of the deployment."""
        return {
            "TimelockController": self.timelock,
            "MarinaToken": self.token,
            "MarinaGovernor": self.governor,
            "TrackRegistry": self.registry,
            "MusicLicensing": self.licensing,
            "TrackEditions": self.editions,
            "GuardianRegistry": self.guardians,
        }

    def name_of(self, address: bytes) -> str | None:
        """Return which contract has an address, None if it is none of these."""
        return next((name for name, each in self.named().items() if each == address), None)

    def to_json(self, chain_id: int, first_block: int = 0) -> str:
        """Return the text of a contracts file.

        Args:
            chain_id: of their chain.
            first_block: of their deployment, where an index begins; 0 reads the whole chain.
        """
        places = {key: account_text(Account(value)) for key, value in asdict(self).items()}
        facts = {"chain_id": chain_id, "first_block": first_block, "contracts": places}
        return json.dumps(facts, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a contracts file says.

    Attributes:
        contracts: the addresses.
        first_block: none of them has said anything before it.
    """

    contracts: ContractSet
    first_block: int = 0


def read_contracts(path: Path, chain_id: int) -> ContractSet:
    """Return the contracts that a file names; errors as for ``read_deployment``."""
    return read_deployment(path, chain_id).contracts


def read_deployment(path: Path, chain_id: int) -> Deployment:
    """Return what a contracts file says.

    Raises:
        NotFoundError: there is no such file.
        MalformedError: it is no contracts file, or one of another chain.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX)
    except OSError as err:
        raise NotFoundError(
            f"{path} names the chain's contracts and cannot be read: get it from who runs this Marina, "
            "or deploy your own with 'marina chain deploy'"
        ) from err
    try:
        facts = load_json(raw)
        found, first_block = facts["chain_id"], facts.get("first_block", 0)
        if type(first_block) is not int or not 0 <= first_block <= BLOCK_MAX:
            raise ValueError("the first block is no number of a block")
        contracts = ContractSet(**{key: parse_account(value) for key, value in facts["contracts"].items()})
    except (ValueError, TypeError, KeyError, AttributeError, MalformedError) as err:
        raise MalformedError(f"{path} is not a file that 'marina chain deploy' wrote") from err
    if found != chain_id:
        raise MalformedError(f"{path} names contracts of chain {found}, not of {chain_id}")
    return Deployment(contracts, first_block)


def create_address(deployer: Account, nonce: int) -> Account:
    """Return the address of the contract that a transaction creates (yellow paper §7)."""
    import rlp

    return Account(bytes(keccak(rlp.encode([bytes(deployer), nonce]))[12:]))
