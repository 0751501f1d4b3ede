"""The DAO: what it governs, what is voted on, and the votes of this node's accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chain.amount import format_amount, parse_amount
from marina.cid import cid_text, parse_cid
from marina.errors import MalformedError, UsageError
from marina.ids import Account, account_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import max_fee, typed_account
from node.api.scopes import Scope
from node.chain.service import ChainService
from node.chain.spending import quote
from storage.blocks.protocol import BlockStore
from storage.pins import Pins
from storage.retention import Retention

if TYPE_CHECKING:
    from governance.calls import Call
    from governance.glossary import Line
    from governance.listing import ProposalView

_CHANGES_MAX = 16
_TEXT_BYTES_MAX = 64 << 10
_PAGE_MAX = 50
_NOBODY = Account(bytes(20))


class DaoRoutes:
    """What a member does."""

    def __init__(self, *, chain: ChainService, blocks: BlockStore, pins: Pins) -> None:
        self._chain = chain
        self._blocks = blocks
        self._pins = pins

    @route("GET", "/api/v1/dao", scope=Scope.READ_MUSIC)
    async def overview(self, ctx: ApiContext) -> Reply:
        """Answer what the DAO has set, and what an account has in it."""
        from governance.parameters import PARAMETERS

        dao = self._chain.get().dao
        account = self._account(ctx.query.text("account", None, bytes_max=64))
        values = await dao.parameters()
        standing = await dao.standing(account)
        return Reply.ok(
            {
                "proposals": await dao.count(),
                "parameters": [
                    {"key": each.key, "title": each.title, "value": each.unit.format(values[each.key])}
                    for each in PARAMETERS
                    if each.key in values
                ],
                "account": account_text(account),
                "balance": str(standing.balance),
                "votes": str(standing.votes),
                "delegate": None if standing.delegate == _NOBODY else account_text(standing.delegate),
                "message": standing.sentence(),
            }
        )

    @route("GET", "/api/v1/dao/proposals", scope=Scope.READ_MUSIC)
    async def proposals(self, ctx: ApiContext) -> Reply:
        """Answer proposals, the newest first."""
        offset = ctx.query.whole("offset", 0, low=0, high=10**9)
        limit = ctx.query.whole("limit", 20, low=1, high=_PAGE_MAX)
        found = await self._chain.get().dao.proposals(offset=offset, limit=limit)
        return Reply.ok({"items": [_summary(each) for each in found]})

    @route("GET", "/api/v1/dao/proposals/{name}", scope=Scope.READ_MUSIC)
    async def proposal(self, ctx: ApiContext) -> Reply:
        """Answer one proposal with every call in words; with ``simulate`` what it would change now."""
        dao = self._chain.get().dao
        view = await dao.proposal(ctx.params["name"])
        account = self._chain.wallet.default().account
        facts = {
            **_summary(view),
            "calls": [_line(each) for each in await dao.words(view.proposal.calls)],
            "your_votes": str(await dao.past_votes(account, min(view.proposal.snapshot_s, view.now_s - 1))),
            "you_voted": await dao.has_voted(view.id, account),
        }
        if ctx.query.flag("simulate"):
            effect = await dao.effect(view.proposal.calls)
            facts["effect"] = {
                "message": effect.sentence(),
                "method": effect.method.name.lower(),
                "would_fail": effect.would_fail,
                "trials": [
                    {"text": each.line.text, "done": each.is_done, "reason": each.reason or None}
                    for each in effect.trials
                ],
                "changes": [
                    {"title": each.title, "before": each.before, "after": each.after}
                    for each in effect.changes
                ],
            }
        return Reply.ok(facts)

    @route("POST", "/api/v1/dao/propose", scope=Scope.ADMIN)
    async def propose(self, ctx: ApiContext) -> Reply:
        """Answer what proposing would do, and its code.

        ``changes`` are like ``fee=5%``, ``payments`` like ``400MMT=0x…``; ``text`` is the whole text, kept
        by this node under its CID, or ``text_cid`` names one.
        """
        from governance.description import make_description, text_block

        chain, account = self._chain.get(), self._payer(ctx)
        calls = await self._calls(ctx)
        text, typed_cid = (
            ctx.body.text("text", None, bytes_max=_TEXT_BYTES_MAX),
            ctx.body.text("text_cid", None),
        )
        cid = None
        if text is not None:
            cid, block = text_block(text)
            await self._blocks.put(cid, block)
            await self._pins.pin([cid], Retention.OWN)
        elif typed_cid is not None:
            try:
                cid = parse_cid(typed_cid)
            except MalformedError as err:
                raise UsageError(str(err)) from err
        description = make_description(
            ctx.body.text("title", bytes_max=1024),
            summary=ctx.body.text("summary", "", bytes_max=8192),
            text=cid,
            proposer=account,
        )
        draft = await chain.dao_actions.propose(account, description, calls)
        said = await quote(self._chain, [draft], account, max_fee=max_fee(ctx))
        return Reply.ok({**said, "text_cid": None if cid is None else cid_text(cid)})

    @route("POST", "/api/v1/dao/proposals/{name}/{step}", scope=Scope.ADMIN)
    async def step(self, ctx: ApiContext) -> Reply:
        """Answer what a vote, queueing, executing or cancelling would do, and its code.

        A vote takes ``support`` (for, against, abstain) and perhaps a ``reason``.
        """
        from governance.ballot import parse_support

        actions, account, name = self._chain.get().dao_actions, self._payer(ctx), ctx.params["name"]
        step = ctx.params["step"]
        if step == "vote":
            support = parse_support(ctx.body.text("support", bytes_max=16))
            draft = await actions.vote(account, name, support, ctx.body.text("reason", "", bytes_max=1024))
        elif step == "queue":
            draft = await actions.queue(account, name)
        elif step == "execute":
            draft = await actions.execute(account, name)
        elif step == "cancel":
            draft = await actions.cancel(account, name)
        else:
            raise UsageError(f"{step[:40]!r} is nothing one does: choose vote, queue, execute or cancel")
        return Reply.ok(await quote(self._chain, [draft], account, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/dao/delegate", scope=Scope.ADMIN)
    async def delegate(self, ctx: ApiContext) -> Reply:
        """Answer what delegating all MMT of an account would do, and its code."""
        account = self._payer(ctx)
        typed = ctx.body.text("to", bytes_max=64)
        to = account if typed == "self" else typed_account(typed, self._chain)
        draft = await self._chain.get().dao_actions.delegate(account, to)
        return Reply.ok(await quote(self._chain, [draft], account, max_fee=max_fee(ctx)))

    @route("GET", "/api/v1/dao/treasury", scope=Scope.READ_MUSIC)
    async def treasury(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer what the treasury holds, and what waits to be collected for it."""
        chain = self._chain.get()
        holdings = await chain.dao.treasury()
        return Reply.ok(
            {
                "account": account_text(chain.contracts.timelock),
                "items": [
                    {
                        "symbol": each.currency.symbol,
                        "held": format_amount(each.held, each.currency),
                        "waiting": format_amount(each.waiting, each.currency),
                    }
                    for each in holdings
                ],
            }
        )

    @route("POST", "/api/v1/dao/collect", scope=Scope.ADMIN)
    async def collect(self, ctx: ApiContext) -> Reply:
        """Answer what paying the collected fees into the treasury would do, and its code."""
        chain, account = self._chain.get(), self._payer(ctx)
        drafts = [
            chain.dao_actions.collect_fees(account, each.currency.token)
            for each in await chain.dao.treasury()
            if each.waiting
        ]
        return Reply.ok(await quote(self._chain, drafts, account, max_fee=max_fee(ctx)))

    async def _calls(self, ctx: ApiContext) -> list[Call]:
        from chain.artifacts import artifact
        from chain.calls import parse_call
        from governance.calls import Call
        from governance.parameters import parse_change
        from governance.treasury import grant

        chain = self._chain.get()
        calls = [
            parse_change(each, chain.contracts)
            for each in ctx.body.texts("changes", items_max=_CHANGES_MAX, bytes_max=512)
        ]
        for each in ctx.body.texts("payments", items_max=_CHANGES_MAX, bytes_max=256):
            amount, equals, to = each.partition("=")
            if not equals:
                raise UsageError(f"{each[:60]!r} is no payment: write AMOUNT=ACCOUNT, like 400MMT=0x…")
            paid = parse_amount(amount, await chain.currencies.all())
            calls.append(grant(typed_account(to, self._chain), paid, chain.contracts))
        raw = ctx.body.raw().get("calls") or []
        if not isinstance(raw, list) or len(raw) > _CHANGES_MAX:
            raise UsageError(f"'calls' must be a list of at most {_CHANGES_MAX}")
        for each in raw:
            if not isinstance(each, list) or len(each) < 2 or not all(isinstance(word, str) for word in each):
                raise UsageError("a call is a list: contract, function, arguments")
            name, function, *arguments = each
            place = chain.contracts.named().get(name)
            if place is None:
                raise UsageError(f"{name[:40]!r} is no contract of Marina: see 'marina chain status'")
            call = parse_call(place, list(artifact(name).abi), function, arguments)
            calls.append(Call(place, 0, call.message(_NOBODY).data))
        return calls

    def _payer(self, ctx: ApiContext) -> Account:
        return self._account(ctx.body.text("account", None, bytes_max=64))

    def _account(self, typed: str | None) -> Account:
        wallet = self._chain.wallet
        return (wallet.default() if typed is None else wallet.find(typed)).account


def _summary(view: ProposalView) -> dict[str, Any]:
    description, tally = view.description, view.tally
    return {
        "number": view.number or None,
        "id": hex(view.id),
        "title": "(its text is not known)" if description is None else description.title,
        "summary": None if description is None else description.summary or None,
        "text_cid": None if description is None or description.text is None else cid_text(description.text),
        "proposer": account_text(view.proposal.proposer),
        "state": view.state.word,
        "for": str(tally.in_favour),
        "against": str(tally.against),
        "abstain": str(tally.abstained),
        "quorum": str(view.quorum) if view.quorum else None,
        "starts_s": view.proposal.snapshot_s,
        "ends_s": view.proposal.deadline_s,
        "executable_s": view.eta_s or None,
        "executable": view.is_executable,
        "now_s": view.now_s,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "text": line.text,
        "warnings": list(line.warnings),
        "understood": line.is_understood,
        "target": account_text(line.call.target),
        "value": str(line.call.value),
        "data": "0x" + line.call.data.hex(),
        "inner": [_line(each) for each in line.inner],
    }
