from __future__ import annotations

import pytest

from chain.artifacts import NAMES, artifact
from chain.dev import genesis
from chain.dev.engine import Engine
from chain.dev.store import Store
from marina.clock import ManualClock
from marina.ids import account_text
from tests.support.dev_engine import START_S, DevEngine


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    chain = DevEngine(
        tmp_path_factory.mktemp("chain"), funded=genesis.funded(), predeploy=genesis.deploy_contracts
    )
    yield chain
    chain.close()


def test_every_contract_is_where_clients_look_for_it(deployed):
    places = genesis.dev_contracts().named()
    assert set(places) == set(NAMES)
    assert genesis.dev_contracts() == genesis.dev_plan().contracts
    for name, address in places.items():
        code = bytes.fromhex(deployed.rpc("eth_getCode", account_text(address))[2:])
        assert artifact(name).masked(code) == artifact(name).masked(artifact(name).deployed)


def test_the_treasurer_has_the_tokens_of_the_beginning(deployed):
    token = account_text(genesis.dev_contracts().token)
    data = "0x70a08231" + bytes(genesis.treasurer()).hex().rjust(64, "0")
    assert int(deployed.rpc("eth_call", {"to": token, "data": data}), 16) == 10**24


def test_the_public_accounts_can_pay_for_transactions(deployed):
    for account in (genesis.deployer(), genesis.treasurer()):
        assert int(deployed.rpc("eth_getBalance", account_text(account)), 16) > 900 * 10**18


def test_a_chain_with_other_contracts_is_noticed(deployed, tmp_path):
    assert genesis.has_these_contracts(deployed.engine)
    store = Store(tmp_path / "c.sqlite")
    store.open()
    engine = Engine(store=store, clock=ManualClock(START_S))
    engine.open()
    assert not genesis.has_these_contracts(engine)
    store.close()
