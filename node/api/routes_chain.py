"""The chain itself: how it is, what its contracts say, any call, and a new deployment."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import trio
from eth_hash.auto import keccak

from chain.amount import Amount, parse_amount
from chain.artifacts import artifact
from chain.calls import ContractCall, parse_abi, parse_call, views
from chain.contracts import BLOCK_MAX, ContractSet, Deployment
from chain.deployment import plan_deployment, verify_contracts
from chain.draft import Draft
from chain.errors import RpcError
from marina.errors import MarinaError, UsageError
from marina.ids import Account, account_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import TYPED_BYTES_MAX, local_account, max_fee, typed_account
from node.api.scopes import Scope
from node.chain.proposing import contract_name
from node.chain.service import ChainService
from node.chain.spending import quote

log = logging.getLogger("marina.node")

_CREATION_GAS = 6_000_000
_ROLE_GAS = 150_000
_NOBODY = Account(bytes(20))
_GIVES_AWAY = ("transfer(address,uint256)", "approve(address,uint256)")
"""Calls of a token that the spending limits see, although they are typed by hand."""


class ChainRoutes:
    """What somebody who knows contracts does."""

    def __init__(self, *, chain: ChainService) -> None:
        self._chain = chain
        self._limiter = trio.CapacityLimiter(1)

    @route("GET", "/api/v1/chain", scope=Scope.READ_MUSIC)
    async def status(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer which chain is configured, its endpoints, its contracts, and how far the index is."""
        profile = self._chain.profile
        said = await self._chain.check()
        facts: dict[str, Any] = {
            "profile": profile.name if profile else "none",
            "chain_id": profile.chain_id if profile else None,
            "status": said.state.value,
            "message": said.sentence,
        }
        if profile is None:
            return Reply.ok(facts)
        facts["endpoints"] = [
            {"address": each.address, "well": each.is_well, "fault": each.fault or None}
            for each in self._chain.money().rpc.states()
        ]
        try:
            chain = self._chain.get()
        except MarinaError as err:
            return Reply.ok({**facts, "contracts": {}, "message": str(err)})
        state = chain.indexer.state
        return Reply.ok(
            {
                **facts,
                "symbol": profile.symbol,
                "confirmations": profile.confirmations,
                "contracts": {name: account_text(each) for name, each in chain.contracts.named().items()},
                "head": state.head,
                "indexed": state.block,
                "fee_percent": await chain.tables.fee_bps() / 100,
            }
        )

    @route("GET", "/api/v1/chain/state/{contract}", scope=Scope.READ_MUSIC)
    async def state(self, ctx: ApiContext) -> Reply:
        """Answer what every view without arguments of a contract says, at one block."""
        chain = self._chain.get()
        name = contract_name(ctx.params["contract"], chain.contracts)
        block = await chain.gateway.head()
        values: dict[str, Any] = {}
        for call in views(name, chain.contracts.named()[name]):
            try:
                values[call.entry["name"]] = call.shown(
                    await chain.gateway.call(call.message(Account(bytes(20))), block)
                )
            except MarinaError as err:
                values[call.entry["name"]] = f"({err})"
        address = account_text(chain.contracts.named()[name])
        return Reply.ok({"contract": name, "address": address, "block": block, "state": values})

    @route("POST", "/api/v1/chain/call", scope=Scope.READ_MUSIC)
    async def call(self, ctx: ApiContext) -> Reply:
        """Answer what a function would return; nothing is sent."""
        chain, call = self._chain.get(), self._typed(ctx)
        sender = self._account(ctx)
        block = await chain.gateway.head()
        answer = await chain.gateway.call(call.message(sender, self._value(ctx)), block)
        # A stranger's contract under a stranger's ABI: what it makes of little data may be much.
        shown = await trio.to_thread.run_sync(call.shown, answer, limiter=self._limiter)
        return Reply.ok({"function": call.signature, "block": block, "result": shown})

    @route("POST", "/api/v1/chain/send", scope=Scope.ADMIN)
    async def send(self, ctx: ApiContext) -> Reply:
        """Answer what sending a call would do, and its code."""
        chain, call, sender = self._chain.get(), self._typed(ctx), self._account(ctx)
        value = self._value(ctx)
        message = call.message(sender, value)
        name = chain.contracts.name_of(call.address) or account_text(call.address)
        summary = f"Call {name}.{call.signature} with {', '.join(call.arguments) or 'nothing'}"
        coin = chain.currencies.coin
        spend = [Amount(value, coin)] if value else []
        token = chain.currencies.known().get(call.address)
        if token is not None and call.signature in _GIVES_AWAY:
            spend.append(Amount(int(call.values[1]), token))
        key = f"chain.send:{sender.hex()}:{call.address.hex()}:{keccak(message.data).hex()}:{value}"
        draft = Draft(call.address, message.data, value, "chain.send", summary[:1000], key, tuple(spend))
        return Reply.ok(await quote(self._chain, [draft], sender, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/chain/deploy", scope=Scope.ADMIN)
    async def deploy(self, ctx: ApiContext) -> Reply:
        """Answer what deploying the whole contract set would do and where it would be, and its code."""
        money, deployer = self._chain.money(), self._account(ctx)
        holder = ctx.body.text("holder", None, bytes_max=TYPED_BYTES_MAX)
        names: dict[str, Account] = {}
        genesis = deployer if holder is None else await typed_account(holder, self._chain, names)
        first = await money.gateway.nonce(deployer, "pending")
        plan = plan_deployment(deployer, first, genesis)
        drafts = [
            Draft(
                to=step.to,
                data=step.data,
                value=0,
                what="chain.deploy",
                summary=f"Deployment {number} of {len(plan.steps)}: {step.summary}",
                key=f"chain.deploy:{deployer.hex()}:{step.nonce}",
                gas_limit=_CREATION_GAS if step.to is None else _ROLE_GAS,
            )
            for number, step in enumerate(plan.steps, start=1)
        ]
        said = await quote(self._chain, drafts, deployer, max_fee=max_fee(ctx), names=names)
        for row in said["transactions"]:
            del row["data"]  # 100 KB of code that nobody reads
        return Reply.ok({**said, "contracts": _names(plan.contracts)})

    @route("POST", "/api/v1/chain/contracts", scope=Scope.ADMIN)
    async def use(self, ctx: ApiContext) -> Reply:
        """Compare contracts byte for byte with this version's, and use them from now on."""
        given = ctx.body.raw().get("contracts")
        if not isinstance(given, dict):
            raise UsageError("'contracts' must name every contract and its address")
        keys = dict(zip(_names(_EMPTY), asdict(_EMPTY), strict=True))
        try:
            places = {keys[name]: local_account(str(text), self._chain) for name, text in given.items()}
            contracts = ContractSet(**places)
        except (KeyError, TypeError) as err:
            raise UsageError(f"'contracts' must name exactly {', '.join(keys)}") from err
        first_block = ctx.body.whole("first_block", 0, low=0, high=BLOCK_MAX)
        await verify_contracts(self._chain.money().rpc, contracts)
        await self._check_first(contracts, first_block)
        path = await self._chain.keep_contracts(Deployment(contracts, first_block))
        return Reply.ok({"file": str(path), "first_block": first_block, "contracts": _names(contracts)})

    @route("POST", "/api/v1/chain/reindex", scope=Scope.ADMIN)
    async def reindex(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Forget what the node knows of the chain, and read it anew; answers where it begins."""
        chain = self._chain.get()
        await chain.indexer.start_over()
        return Reply.ok({"chain": chain.profile.name, "head": chain.indexer.state.head})

    @route("POST", "/api/v1/chain/verify", scope=Scope.READ_MUSIC)
    async def verify(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Compare the contracts of the chain byte for byte with those of this version."""
        chain = self._chain.get()
        await verify_contracts(chain.rpc, chain.contracts)
        names = {name: account_text(each) for name, each in chain.contracts.named().items()}
        return Reply.ok({"chain": chain.profile.name, "contracts": names})

    async def _check_first(self, contracts: ContractSet, block: int) -> None:
        """Refuse a first block before which the contracts were there already: an index would lack it."""
        money = self._chain.money()
        if block > await money.gateway.head():
            raise UsageError(f"block {block} does not exist yet: the first block is that of the deployment")
        if block == 0:
            return
        place = [account_text(contracts.timelock), hex(block - 1)]
        try:
            code = await money.rpc.call("eth_getCode", place)
        except RpcError as err:  # an endpoint that keeps only the newest states
            log.info("the first block is taken as it was given: %s", err)
            return
        if code != "0x":
            raise UsageError(f"the contracts were there before block {block}: give an earlier first block")

    def _account(self, ctx: ApiContext) -> Account:
        typed = ctx.body.text("account", None, bytes_max=64)
        wallet = self._chain.wallet
        return (wallet.default() if typed is None else wallet.find(typed)).account

    def _typed(self, ctx: ApiContext) -> ContractCall:
        """Return the call of ``contract`` (a name or an address), ``function`` and ``arguments``."""
        contract = ctx.body.text("contract", bytes_max=64)
        abi_text = ctx.body.text("abi", None, bytes_max=600_000)
        named = self._chain.get().contracts.named()
        if contract.startswith("0x"):
            address = local_account(contract, self._chain)
            name = next((each for each, place in named.items() if place == address), None)
        else:
            name = contract_name(contract, self._chain.get().contracts)
            address = named[name]
        if abi_text is not None:
            abi = parse_abi(abi_text)
        elif name is not None:
            abi = list(artifact(name).abi)
        else:
            raise UsageError("the contract is not one of Marina's: give its ABI with --abi FILE")
        arguments = ctx.body.texts("arguments", items_max=64, bytes_max=65_536)
        return parse_call(address, abi, ctx.body.text("function", bytes_max=1000), arguments)

    def _value(self, ctx: ApiContext) -> int:
        coin = self._chain.money().coin
        text = ctx.body.text("value", None, bytes_max=100)
        return 0 if text is None else parse_amount(text, (coin,), default=coin).value


_EMPTY = ContractSet(*(_NOBODY,) * 7)


def _names(contracts: ContractSet) -> dict[str, str]:
    return {name: account_text(each) for name, each in contracts.named().items()}
