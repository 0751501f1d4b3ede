"""The DAO: what it governs, what is voted on, and the votes of this node's accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chain.amount import format_amount
from marina.cid import cid_text
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, account_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import TYPED_BYTES_MAX, local_account, max_fee, typed_account
from node.api.scopes import Scope
from node.chain.proposing import CALLS_MAX, parse_calls, text_of
from node.chain.service import ChainService
from node.chain.shared_blocks import SharedBlocks
from node.chain.spending import quote

if TYPE_CHECKING:
    from chain.index.governance import VoteRow
    from governance.calls import Call
    from governance.glossary import Line
    from governance.listing import ProposalView

_TEXT_BYTES_MAX = 256 << 10
_PAGE_MAX = 50
_VOTES_PAGE_MAX = 200
_SUPPORT = ("against", "for", "abstain")
_NOBODY = Account(bytes(20))


class DaoRoutes:
    """What a member does."""

    def __init__(self, *, chain: ChainService, shared: SharedBlocks) -> None:
        self._chain = chain
        self._shared = shared

    @route("GET", "/api/v1/dao", scope=Scope.READ_MUSIC)
    async def overview(self, ctx: ApiContext) -> Reply:
        """Answer what the DAO has set, and what an account has in it."""
        from governance.parameters import PARAMETERS

        dao = self._chain.get().dao
        account = self._account(ctx.query.text("account", None, bytes_max=64))
        values = await dao.parameters()
        return Reply.ok(
            {
                "proposals": await dao.count(),
                "quorum": str(await dao.quorum()),
                "parameters": [
                    {"key": each.key, "title": each.title, "value": each.unit.format(values[each.key])}
                    for each in PARAMETERS
                    if each.key in values
                ],
                **await self._standing(account),
            }
        )

    @route("GET", "/api/v1/dao/voters/{account}", scope=Scope.READ_MUSIC)
    async def voter(self, ctx: ApiContext) -> Reply:
        """Answer what an account holds and votes with, and how it voted, the newest votes first."""
        chain, account = self._chain.get(), await typed_account(ctx.params["account"], self._chain)
        await chain.try_catch_up()
        cast = await chain.tables.votes_by(account, limit=_VOTES_PAGE_MAX)
        rows = sorted(cast.rows, key=lambda row: row.cast_s, reverse=True)
        return Reply.ok({**await self._standing(account), "items": [_vote(each) for each in rows]})

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

    @route("GET", "/api/v1/dao/proposals/{name}/votes", scope=Scope.READ_MUSIC)
    async def votes(self, ctx: ApiContext) -> Reply:
        """Answer who voted how on a proposal, and why as far as they said."""
        chain = self._chain.get()
        view = await chain.dao.proposal(ctx.params["name"])
        await chain.try_catch_up()
        found = await chain.tables.votes(
            view.id,
            cursor=ctx.query.text("cursor", None, bytes_max=512),
            limit=ctx.query.whole("limit", 50, low=1, high=_VOTES_PAGE_MAX),
        )
        return Reply.ok({"items": [_vote(each) for each in found.rows], "next": found.cursor})

    @route("GET", "/api/v1/dao/proposals/{name}/text", scope=Scope.READ_MUSIC)
    async def text(self, ctx: ApiContext) -> Reply:
        """Answer the whole text that a proposal names, from peers if it is not here."""
        from governance.description import read_text_block

        view = await self._chain.get().dao.proposal(ctx.params["name"])
        cid = None if view.description is None else view.description.text
        if cid is None:
            raise NotFoundError("the proposal names no text: its summary is all there is")
        block = await self._shared.get(cid, "the proposal's text")
        return Reply.ok({"text_cid": cid_text(cid), "text": read_text_block(cid, block)})

    @route("POST", "/api/v1/dao/propose", scope=Scope.ADMIN)
    async def propose(self, ctx: ApiContext) -> Reply:
        """Answer what proposing would do, and its code.

        ``changes`` are like ``fee=5%``, ``payments`` like ``400MMT=0x…``; ``text`` is the whole text, kept
        by this node under its CID, or ``text_cid`` names one; with ``dry_run`` it is not kept.
        """
        from governance.description import make_description

        chain, account = self._chain.get(), self._payer(ctx)
        calls = await self._calls(ctx)
        cid, block = text_of(
            ctx.body.text("text", None, bytes_max=_TEXT_BYTES_MAX),
            ctx.body.text("text_cid", None, bytes_max=128),
        )
        description = make_description(
            ctx.body.text("title", bytes_max=1024),
            summary=ctx.body.text("summary", "", bytes_max=8192),
            text=cid,
            proposer=account,
        )
        draft = await chain.dao_actions.propose(account, description, calls)
        is_dry = ctx.body.flag("dry_run")
        said = await quote(self._chain, [draft], account, max_fee=max_fee(ctx), is_dry=is_dry)
        if cid is not None and block is not None and not is_dry:
            await self._shared.publish(cid, block)
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
        typed = ctx.body.text("to", bytes_max=TYPED_BYTES_MAX)
        names: dict[str, Account] = {}
        to = account if typed == "self" else await typed_account(typed, self._chain, names)
        draft = await self._chain.get().dao_actions.delegate(account, to)
        return Reply.ok(await quote(self._chain, [draft], account, max_fee=max_fee(ctx), names=names))

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
        chain = self._chain.get()
        return parse_calls(
            changes=ctx.body.texts("changes", items_max=CALLS_MAX, bytes_max=512),
            payments=ctx.body.texts("payments", items_max=CALLS_MAX, bytes_max=256),
            raw=ctx.body.raw().get("calls"),
            currencies=await chain.currencies.all(),
            contracts=chain.contracts,
            account_of=lambda typed: local_account(typed, self._chain),
        )

    async def _standing(self, account: Account) -> dict[str, Any]:
        standing = await self._chain.get().dao.standing(account)
        return {
            "account": account_text(account),
            "balance": str(standing.balance),
            "votes": str(standing.votes),
            "delegate": None if standing.delegate == _NOBODY else account_text(standing.delegate),
            "message": standing.sentence(),
        }

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


def _vote(row: VoteRow) -> dict[str, Any]:
    from governance.text import REASON_CHARS_MAX, clean_text

    return {
        "proposal": "0x" + row.proposal_id.hex(),
        "voter": account_text(Account(row.voter)),
        "support": _SUPPORT[row.support] if row.support < len(_SUPPORT) else str(row.support),
        "votes": str(int.from_bytes(row.weight)),
        "reason": clean_text(row.reason, chars_max=REASON_CHARS_MAX) or None,
        "cast_s": row.cast_s,
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
