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

    def to_json(self, chain_id: int) -> str:
        """Return the text of a contracts file."""
        places = {key: account_text(Account(value)) for key, value in asdict(self).items()}
        return json.dumps({"chain_id": chain_id, "contracts": places}, indent=2) + "\n"


def read_contracts(path: Path, chain_id: int) -> ContractSet:
    """Return the contracts that a file names.

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
        found = facts["chain_id"]
        contracts = ContractSet(**{key: parse_account(value) for key, value in facts["contracts"].items()})
    except (ValueError, TypeError, KeyError, AttributeError, MalformedError) as err:
        raise MalformedError(f"{path} is not a file that 'marina chain deploy' wrote") from err
    if found != chain_id:
        raise MalformedError(f"{path} names contracts of chain {found}, not of {chain_id}")
    return contracts


def create_address(deployer: Account, nonce: int) -> Account:
    """Return the address of the contract that a transaction creates (yellow paper §7)."""
    import rlp

    return Account(bytes(keccak(rlp.encode([bytes(deployer), nonce]))[12:]))
