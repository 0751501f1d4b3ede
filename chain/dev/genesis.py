"""The first blocks of a development chain: Marina's contracts, at the same addresses on every one.

The two accounts below are public. Whoever runs a development chain can use them, and nobody may send them
anything of worth. py-evm is not imported here: nodes that only use the chain read the addresses.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from eth_hash.auto import keccak

from chain.artifacts import NAMES, artifact
from chain.contracts import ContractSet, create_address
from chain.deployment import Plan, plan_deployment
from marina.errors import MarinaError
from marina.ids import Account
from storage.identity.typed_data import account_of_key

if TYPE_CHECKING:
    from chain.dev.engine import Engine

DEPLOYER_KEY: bytes = keccak(b"marina development chain: deployer")
"""Public private key: sends the deployment, keeps no role."""
TREASURER_KEY: bytes = keccak(b"marina development chain: treasurer")
"""Public private key: holds the 1,000,000 MMT of the beginning, to be given to whoever tests votes."""
_COINS_WEI = 1000 * 10**18
_CONTRACTS = "contracts_sha256"
_CREATION_GAS = 12_000_000
_MAX_FEE_WEI = 10 * 10**9


def deployer() -> Account:
    """Return the account that deployed the contracts."""
    return account_of_key(DEPLOYER_KEY)


def treasurer() -> Account:
    """Return the account that has all MMT in the first block."""
    return account_of_key(TREASURER_KEY)


def funded() -> dict[bytes, int]:
    """Return the base units that the public accounts have in the first block."""
    return {bytes(deployer()): _COINS_WEI, bytes(treasurer()): _COINS_WEI}


@cache
def dev_plan() -> Plan:
    """Return the transactions that deploy the contracts on a new development chain."""
    return plan_deployment(deployer(), 0, treasurer())


def dev_contracts() -> ContractSet:
    """Return where Marina's contracts are on every development chain.

    Equal to ``dev_plan().contracts``, without encoding a transaction, which would load web3 at each start.
    """
    return ContractSet(*(create_address(deployer(), nonce) for nonce in range(len(NAMES))))


def deploy_contracts(engine: Engine) -> None:
    """Send the deployment to a new chain.

    Raises:
        MarinaError: a transaction of it failed; the chain must not be used.
    """
    from chain.dev.signing import sign_transaction

    for step in dev_plan().steps:
        raw = sign_transaction(
            engine,
            DEPLOYER_KEY,
            to=None if step.to is None else bytes(step.to),
            value=0,
            data=step.data,
            gas=_CREATION_GAS,
            max_fee_wei=_MAX_FEE_WEI,
        )
        engine.send(raw)
        (receipt,) = engine.receipts(engine.head())
        if receipt.state_root != b"\x01":
            raise MarinaError(
                f"the development chain could not {step.summary}: this build of Marina is broken"
            )
    engine.store.set_note(_CONTRACTS, _code_digest())


def has_these_contracts(engine: Engine) -> bool:
    """Return whether the chain began with the contracts that this version of Marina carries."""
    return engine.store.note(_CONTRACTS) == _code_digest()


def _code_digest() -> bytes:
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(artifact(name).bytecode)
    return digest.digest()
