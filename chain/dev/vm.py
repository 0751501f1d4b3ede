"""py-evm's Prague machine, with a time limit for calls that only read."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from eth.chains.base import MiningChain
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState

from chain.dev.faults import CallTimeoutError

if TYPE_CHECKING:
    from eth.abc import AtomicDatabaseAPI

CHAIN_ID = 31337
FORK = "prague"


class DevComputation(PragueComputation):  # type: ignore[misc]
    """Stops when the state's deadline has passed."""

    def consume_gas(self, amount: int, reason: str) -> None:
        """Pay for one operation; every operation of the machine passes here.

        Raises:
            CallTimeoutError: the deadline has passed.
        """
        if time.monotonic() > self.state.deadline_s:
            raise CallTimeoutError
        self._gas_meter.consume_gas(amount, reason)


class DevState(PragueState):  # type: ignore[misc]
    """Prague's state.

    Attributes:
        deadline_s: moment of ``time.monotonic`` that ends the execution; never for transactions.
    """

    computation_class = DevComputation
    deadline_s: float = inf


class DevVm(PragueVM):  # type: ignore[misc]
    """Prague's rules for a block."""

    _state_class = DevState


class DevChain(MiningChain):  # type: ignore[misc]
    """Prague from the first block on."""

    vm_configuration = ((0, DevVm),)
    chain_id = CHAIN_ID


def make_genesis(database: AtomicDatabaseAPI, balances: dict[bytes, int], header: dict[str, Any]) -> DevChain:
    """Write the first block and return its chain.

    Args:
        database: empty.
        balances: base units by account.
        header: ``gas_limit``, ``timestamp``, ``base_fee_per_gas``.
    """
    state = {
        account: {"balance": wei, "nonce": 0, "code": b"", "storage": {}} for account, wei in balances.items()
    }
    made: DevChain = DevChain.from_genesis(database, header, state)
    return made
