"""What the contracts said is found again: by id, by account, page by page, counted as the contracts count."""

from __future__ import annotations

from random import Random

import pytest

from chain.contracts import ContractSet
from chain.events import EventDecoder
from chain.index.governance import DESCRIPTION_BYTES_MAX
from chain.index.handlers import HANDLERS, changes_of, make_indexer, open_index
from chain.index.licensing import FOREVER_S, LicenceRow, SaleRow, TipRow
from chain.index.registry import splits_hash
from chain.index.rows import amount
from chain.tables import PAGE_ROWS_MAX, ChainTables
from marina.errors import UsageError
from marina.ids import Account
from storage.kv import MemoryKv
from tests.support.memory_chain import BLOCK_S, GENESIS_S, MemoryChain

SET = ContractSet(*(Account(bytes([0xA0 + each]) * 20) for each in range(7)))
ARTIST, FAN, FRIEND, DAO = (bytes([each]) * 20 for each in (1, 2, 3, 4))
TRACK, RELEASE, LICENCE, OTHER_LICENCE = (bytes([each]) * 32 for each in (0x11, 0x12, 0x13, 0x14))
COIN, USDC = bytes(20), b"\xcc" * 20
SPLITS = [(ARTIST, 9000), (FRIEND, 1000)]
HASH = splits_hash(SPLITS)


def registered(number=TRACK, release=bytes(32), splits=SPLITS):
    token = int.from_bytes(number)
    return [
        ("TrackRegistry", "Transfer", {"from": bytes(20), "to": ARTIST, "tokenId": token}),
        (
            "TrackRegistry",
            "Registered",
            {
                "id": number,
                "artist": ARTIST,
                "releaseId": release,
                "contentDigest": b"\x21" * 32,
                "royaltyBps": 500,
                "splits": splits,
            },
        ),
    ]


def term(term_id, price, *, token=0, period_s=3600, number=TRACK):
    said = {
        "id": number,
        "termId": term_id,
        "price": price,
        "periodSeconds": period_s,
        "token": token,
        "kind": 1,
    }
    return ("MusicLicensing", "TermAdded", said)


def purchase(paid, expires_at, *, licence=LICENCE, term_id=0, payer=FAN, licensee=FAN, number=TRACK):
    said = {
        "licenceId": licence,
        "trackId": number,
        "licensee": licensee,
        "payer": payer,
        "termId": term_id,
        "periods": 1,
        "paid": paid,
        "splitsHash": HASH,
        "expiresAt": expires_at,
    }
    return ("MusicLicensing", "LicencePurchased", said)


async def indexed(*blocks):
    """Return the tables after blocks of events."""
    chain = MemoryChain(SET.named())
    for events in blocks:
        chain.mine(events)
    store = open_index(MemoryKv(), chain_id=31337, contracts=SET)
    await make_indexer(chain, SET, store, rng=Random(1)).catch_up()
    return ChainTables(store)


def time_of(block):
    return GENESIS_S + BLOCK_S * block


def test_every_handled_event_is_one_of_the_contracts():
    assert set(HANDLERS) <= EventDecoder(SET.named()).names


async def test_a_registration_is_found_by_id_owner_and_release():
    tables = await indexed(registered(TRACK, RELEASE))
    row = await tables.registration(TRACK)
    assert (row.artist, row.owner, row.version, row.is_active, row.is_blocked) == (
        ARTIST,
        ARTIST,
        1,
        True,
        False,
    )
    assert row.registered_s == time_of(1)
    assert (await tables.registrations_of(ARTIST)).rows == (row,)
    assert (await tables.tracks_of_release(RELEASE)).rows == (row,)
    assert [(part.account, part.bps) for part in (await tables.splits(TRACK, HASH)).parts] == SPLITS
    assert await tables.registration(RELEASE) is None


async def test_every_change_of_a_registration_is_seen():
    new = [(ARTIST, 5000), (FAN, 5000)]
    tables = await indexed(
        registered(),
        [
            ("TrackRegistry", "ContentUpdated", {"id": TRACK, "contentDigest": b"\x22" * 32, "version": 2}),
            ("TrackRegistry", "SplitsChanged", {"id": TRACK, "splitsHash": splits_hash(new), "splits": new}),
            ("TrackRegistry", "ActiveChanged", {"id": TRACK, "active": False}),
            ("TrackRegistry", "BlockedChanged", {"id": TRACK, "blocked": True}),
            ("TrackRegistry", "RoyaltyChanged", {"id": TRACK, "royaltyBps": 7}),
            ("TrackRegistry", "Transfer", {"from": ARTIST, "to": FAN, "tokenId": int.from_bytes(TRACK)}),
        ],
    )
    row = await tables.registration(TRACK)
    assert (row.version, row.content_digest, row.royalty_bps, row.block) == (2, b"\x22" * 32, 7, 2)
    assert (row.owner, row.artist, row.is_active, row.is_blocked) == (FAN, ARTIST, False, True)
    assert row.splits_hash == splits_hash(new)
    assert (await tables.registrations_of(ARTIST)).rows == ()
    assert (await tables.registrations_of(FAN)).rows == (row,)
    assert await tables.splits(TRACK, HASH) is not None, "money of the old splits is still settled"


async def test_keyboxes_writers_epochs_and_moderation_are_kept():
    anchored = {"id": TRACK, "tier": 1, "digest": b"\x31" * 32, "epoch": 1, "finality": 2}
    tables = await indexed(
        [
            ("TrackRegistry", "KeyboxAnchored", anchored),
            ("TrackRegistry", "KeyboxAnchored", {**anchored, "epoch": 2, "digest": b"\x32" * 32}),
            ("TrackRegistry", "KeyboxWriterChanged", {"id": TRACK, "writer": FRIEND, "allowed": True}),
            ("TrackRegistry", "BindingEpochBumped", {"account": FAN, "epoch": 4}),
            ("TrackRegistry", "ModerationListChanged", {"digest": b"\x33" * 32}),
        ]
    )
    row = await tables.keybox(TRACK, 1)
    assert (row.digest, row.epoch, row.finality) == (b"\x32" * 32, 2, 2)
    assert [(each.digest, each.epoch) for each in row.former] == [(b"\x31" * 32, 1)]
    assert await tables.keybox(TRACK, 2) is None
    assert [each.writer for each in (await tables.keybox_writers(TRACK)).rows] == [FRIEND]
    assert (await tables.binding_epoch(FAN), await tables.binding_epoch(ARTIST)) == (4, 0)
    assert (await tables.moderation_list()).digest == b"\x33" * 32


async def test_the_last_eight_keyboxes_that_were_replaced_are_known_with_the_time_of_that():
    tables = await indexed(
        *(
            [
                (
                    "TrackRegistry",
                    "KeyboxAnchored",
                    {"id": TRACK, "tier": 1, "digest": bytes((epoch,)) * 32, "epoch": epoch, "finality": 0},
                )
            ]
            for epoch in range(1, 11)
        )
    )
    row = await tables.keybox(TRACK, 1)
    assert row.epoch == 10
    assert [each.epoch for each in row.former] == [9, 8, 7, 6, 5, 4, 3, 2]
    assert [each.replaced_s for each in row.former] == [time_of(epoch + 1) for epoch in range(9, 1, -1)]


async def test_a_purchase_knows_token_and_fee_from_the_rows_before_it():
    tables = await indexed(
        [("MusicLicensing", "TokenAllowed", {"token": USDC, "index": 1, "allowed": True})],
        [term(0, 1000), term(1, 500, token=1)],
        [purchase(1000, time_of(3) + 3600)],
        [("MusicLicensing", "FeeChanged", {"feeBps": 1000})],
        [purchase(500, FOREVER_S, licence=OTHER_LICENCE, term_id=1, payer=FRIEND)],
    )
    assert [(each.term_id, each.token) for each in (await tables.terms(TRACK)).rows] == [(0, COIN), (1, USDC)]
    newest, oldest = (await tables.sales(TRACK)).rows
    assert (oldest.token, amount(oldest.paid), amount(oldest.fee)) == (COIN, 1000, 25)
    assert (newest.token, amount(newest.paid), amount(newest.fee)) == (USDC, 500, 50)
    (accrual,) = await tables.accruals(TRACK)
    assert [(each.token, amount(each.waiting_gross), amount(each.waiting_fee)) for each in accrual.parts] == [
        (COIN, 1000, 25),
        (USDC, 500, 50),
    ]
    assert {each.licence_id for each in (await tables.licences_of(FAN)).rows} == {LICENCE, OTHER_LICENCE}
    assert len((await tables.licences_for(TRACK)).rows) == 2
    assert await tables.fee_bps() == 1000
    assert [each.bps for each in (await tables.fee_history()).rows] == [1000]
    assert [each.index for each in await tables.tokens()] == [1]


async def test_the_fee_is_that_of_the_contract_before_anybody_changed_it():
    assert await (await indexed([])).fee_bps() == 250


async def test_an_extension_keeps_the_beginning_and_a_new_start_does_not():
    tables = await indexed(
        [term(0, 10, period_s=4)],
        [purchase(10, time_of(2) + 4)],
        [purchase(10, time_of(2) + 8)],
        [],
        [],
        [purchase(10, time_of(6) + 4)],
    )
    row = await tables.licence(LICENCE)
    assert (row.started_s, row.expires_at_s, amount(row.paid)) == (time_of(6), time_of(6) + 4, 10)
    tables = await indexed([term(0, 10)], [purchase(10, time_of(2) + 9)], [purchase(10, time_of(2) + 18)])
    row = await tables.licence(LICENCE)
    assert (row.started_s, row.expires_at_s, amount(row.paid)) == (time_of(2), time_of(2) + 18, 20)


async def test_a_revoked_licence_is_over_and_can_be_bought_again():
    revoked = (
        "MusicLicensing",
        "LicenceRevoked",
        {"licenceId": LICENCE, "licensee": FAN, "token": COIN, "refund": 9},
    )
    blocks = [[term(0, 10)], [purchase(10, FOREVER_S)], [revoked]]
    row = await (await indexed(*blocks)).licence(LICENCE)
    assert (row.is_revoked, row.expires_at_s) == (True, time_of(3))
    row = await (await indexed(*blocks, [purchase(10, FOREVER_S)])).licence(LICENCE)
    assert (row.is_revoked, row.expires_at_s, row.started_s, amount(row.paid)) == (
        False,
        FOREVER_S,
        time_of(4),
        10,
    )


async def test_money_is_counted_as_the_ledger_counts_it():
    """A sale, a tip and a deposit; settled with dust; withdrawn."""

    def ledger(name, **said):
        return ("MusicLicensing", name, said)

    tables = await indexed(
        [term(0, 1001), purchase(1001, FOREVER_S)],
        [
            ledger("Tipped", **{"id": TRACK, "from": FRIEND, "token": COIN, "amount": 5}),
            ledger("Accrued", id=TRACK, token=COIN, splitsHash=HASH, gross=5, fee=0),
            ledger("Accrued", id=TRACK, token=USDC, splitsHash=HASH, gross=100, fee=2),
        ],
        [
            ledger("Credited", account=ARTIST, token=COIN, id=TRACK, amount=883),
            ledger("Credited", account=FRIEND, token=COIN, id=TRACK, amount=98),
            ledger("Credited", account=DAO, token=COIN, id=TRACK, amount=25),
            ledger("Settled", id=TRACK, token=COIN, splitsHash=HASH, amount=981, fee=25),
        ],
        [ledger("Withdrawn", account=ARTIST, token=COIN, amount=883)],
        [ledger("Credited", account=ARTIST, token=COIN, id=TRACK, amount=7)],
    )
    (accrual,) = await tables.accruals(TRACK)
    coin, usdc = accrual.parts
    assert (amount(coin.waiting_gross), amount(coin.waiting_fee)) == (1006 - 981 - 25, 0)
    assert (amount(coin.total_gross), amount(coin.total_fee)) == (1006, 25)
    assert (amount(usdc.waiting_gross), amount(usdc.waiting_fee)) == (100, 2)
    (owed,) = await tables.owed(ARTIST)
    assert (amount(owed.owed), amount(owed.withdrawn)) == (7, 883)
    assert [amount(each.amount) for each in (await tables.credits_of(ARTIST)).rows] == [7, 883]
    assert [amount(each.amount) for each in (await tables.withdrawals_of(ARTIST)).rows] == [883]
    (tip,) = (await tables.tips(TRACK)).rows
    assert (tip.giver, amount(tip.amount)) == (FRIEND, 5)
    assert (await tables.payments_of(FRIEND)).rows == (tip,)


async def test_what_an_account_paid_is_listed_newest_first_whatever_it_was_for():
    tip = {"id": TRACK, "from": FAN, "token": COIN, "amount": 5}
    created = {"editionId": 1, "trackId": TRACK, "cap": 10, "price": 7, "token": 0}
    sold = {"editionId": 1, "to": FRIEND, "payer": FAN, "amount": 2, "paid": 14}
    tables = await indexed(
        [term(0, 10), ("TrackEditions", "EditionCreated", created)],
        [purchase(10, FOREVER_S, licensee=FRIEND)],
        [("MusicLicensing", "Tipped", tip)],
        [("TrackEditions", "EditionSold", sold)],
    )
    page = await tables.payments_of(FAN, limit=2)
    rest = await tables.payments_of(FAN, cursor=page.cursor)
    assert [type(each).__name__ for each in page.rows] == ["EditionSaleRow", TipRow.__name__]
    assert [type(each) for each in rest.rows] == [SaleRow]
    assert rest.cursor is None
    assert [type(each) for each in (await tables.licences_of(FRIEND)).rows] == [LicenceRow]


async def test_editions_count_what_is_held_and_minted():
    def moved(sender, receiver, count):
        said = {"operator": ARTIST, "from": sender, "to": receiver, "id": 1, "value": count}
        return ("TrackEditions", "TransferSingle", said)

    nobody = bytes(20)
    batch = {"operator": FAN, "from": FAN, "to": FRIEND, "ids": [1, 1], "values": [1, 1]}
    tables = await indexed(
        [
            (
                "TrackEditions",
                "EditionCreated",
                {"editionId": 1, "trackId": TRACK, "cap": 9, "price": 7, "token": 0},
            )
        ],
        [moved(nobody, FAN, 4), ("TrackEditions", "EditionPriceChanged", {"editionId": 1, "price": 8})],
        [("TrackEditions", "TransferBatch", batch), moved(FAN, FAN, 1)],
        [("TrackEditions", "EditionOpenChanged", {"editionId": 1, "open": False})],
    )
    row = await tables.edition(1)
    assert (row.minted, row.cap, amount(row.price), row.is_open) == (4, 9, 8, False)
    assert (await tables.editions_of_track(TRACK)).rows == (row,)
    assert [amount(each.count) for each in (await tables.editions_held(FAN)).rows] == [2]
    assert [amount(each.count) for each in (await tables.editions_held(FRIEND)).rows] == [2]
    assert len((await tables.edition_transfers(1)).rows) == 4
    assert await tables.edition(2) is None


async def test_a_proposal_goes_through_its_life():
    number = 2**255 + 7
    created = {
        "proposalId": number,
        "proposer": ARTIST,
        "targets": [bytes(SET.licensing)],
        "values": [0],
        "signatures": [""],
        "calldatas": [b"\x01\x02\x03\x04"],
        "voteStart": 100,
        "voteEnd": 200,
        "description": "Lower the fee",
    }

    def governor(name, **said):
        return ("MarinaGovernor", name, said)

    def vote(voter, support, weight):
        return governor(
            "VoteCast", voter=voter, proposalId=number, support=support, weight=weight, reason="yes"
        )

    tables = await indexed(
        [governor("ProposalCreated", **created)],
        [
            vote(ARTIST, 1, 2**90),
            vote(FAN, 0, 5),
            vote(FRIEND, 2, 6),
            vote(DAO, 1, 1),
            vote(b"\x09" * 20, 9, 1),
        ],
        [governor("ProposalExtended", proposalId=number, extendedDeadline=300)],
        [governor("ProposalQueued", proposalId=number, etaSeconds=400)],
        [governor("ProposalExecuted", proposalId=number)],
        [governor("ProposalCreated", **{**created, "proposalId": 3, "description": "x" * 70_000})],
        [governor("ProposalCanceled", proposalId=3)],
    )
    row = await tables.proposal(number)
    assert (amount(row.for_), amount(row.against), amount(row.abstain)) == (2**90 + 1, 5, 6)
    assert (row.vote_start_s, row.vote_end_s, row.queued_eta_s) == (100, 300, 400)
    assert (row.is_executed, row.is_canceled, row.is_cut, row.block) == (True, False, False, 5)
    assert row.calls[0].target == SET.licensing
    page = await tables.proposals()
    assert [each.proposal_id[-1] for each in page.rows] == [3, 7]
    assert (page.rows[0].is_canceled, page.rows[0].is_cut) == (True, True)
    assert len(page.rows[0].description) == DESCRIPTION_BYTES_MAX
    assert len((await tables.votes(number)).rows) == 5
    assert [each.support for each in (await tables.votes_by(FAN)).rows] == [0]


async def test_delegation_and_votes_are_kept():
    changed = {"delegator": FAN, "fromDelegate": bytes(20), "toDelegate": FRIEND}
    tables = await indexed(
        [
            ("MarinaToken", "DelegateChanged", changed),
            (
                "MarinaToken",
                "DelegateVotesChanged",
                {"delegate": FRIEND, "previousVotes": 0, "newVotes": 2**90},
            ),
        ]
    )
    assert (await tables.delegation(FAN)).delegate == FRIEND
    assert amount((await tables.voting_power(FRIEND)).votes) == 2**90
    assert await tables.delegation(FRIEND) is None


async def test_a_guardian_comes_changes_and_goes():
    joined = {
        "account": FAN,
        "peerKey": b"\x41" * 32,
        "hpkeKey": b"\x42" * 32,
        "bond": 100,
        "feePerRelease": 3,
    }

    def guardian(name, **said):
        return ("GuardianRegistry", name, {"account": FAN, **said})

    blocks = [
        [guardian("GuardianRegistered", **joined)],
        [
            guardian("GuardianUpdated", hpkeKey=b"\x43" * 32, feePerRelease=4),
            guardian("BondAdded", bond=150),
            guardian("GuardianActive", activeAt=77),
            guardian("GuardianLeft", unlocksAt=99, byDao=True),
        ],
    ]
    row = await (await indexed(*blocks)).guardian_of_peer(b"\x41" * 32)
    assert (row.hpke_key, amount(row.fee_per_release), amount(row.bond)) == (b"\x43" * 32, 4, 150)
    assert (row.active_s, row.unlocks_s, row.is_removed) == (77, 99, True)
    tables = await indexed(*blocks, [guardian("BondWithdrawn", amount=150)])
    assert await tables.guardian(FAN) is None
    assert await tables.guardian_of_peer(b"\x41" * 32) is None
    assert (await tables.all_guardians()).rows == ()
    again = guardian("GuardianRegistered", **{**joined, "peerKey": b"\x44" * 32})
    tables = await indexed(*blocks, [guardian("BondWithdrawn", amount=150)], [again])
    assert (await tables.guardian_of_peer(b"\x44" * 32)).account == FAN
    assert await tables.guardian_of_peer(b"\x41" * 32) is None, "it is another device now"


async def test_a_guardian_that_changes_its_fee_is_there():
    said = {"account": FAN, "hpkeKey": b"\x42" * 32, "feePerRelease": 3}
    joined = ("GuardianRegistry", "GuardianRegistered", {**said, "peerKey": b"\x41" * 32, "bond": 100})
    changed = ("GuardianRegistry", "GuardianUpdated", {**said, "feePerRelease": 4})
    row = await (await indexed([joined], [], [changed])).guardian(FAN)
    assert (row.active_s, amount(row.fee_per_release)) == (time_of(row.block), 4)
    before = await (await indexed([joined], [])).guardian(FAN)
    assert row.active_s > before.active_s


async def test_the_pause_is_known():
    tables = await indexed([("MusicLicensing", "PausedUntil", {"until": 123})])
    assert await tables.paused_until_s() == 123


async def test_pages_follow_one_another_without_gap_or_repetition():
    sales = [[purchase(each, FOREVER_S, licence=each.to_bytes(32))] for each in range(1, 24)]
    tables = await indexed([term(0, 1)], *sales)
    for read in (tables.sales, tables.licences_for):
        found, cursor = [], None
        while True:
            page = await read(TRACK, cursor=cursor, limit=5)
            found += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        assert len(found) == len(set(found)) == 23


@pytest.mark.parametrize(
    ("cursor", "limit"), [("zz", 5), ("", 5), ("AB", 5), ("0" * 200, 5), (None, 0), (None, PAGE_ROWS_MAX + 1)]
)
async def test_a_foreign_cursor_or_limit_is_refused(cursor, limit):
    tables = await indexed([term(0, 1)])
    with pytest.raises(UsageError, match=r"cursor|page"):
        await tables.sales(TRACK, cursor=cursor, limit=limit)


async def test_events_that_nobody_indexes_change_nothing():
    decoder = EventDecoder(SET.named())
    assert ("MusicLicensing", "LicenseActivated") in decoder.names - set(HANDLERS)
    chain = MemoryChain(SET.named())
    chain.mine([("MusicLicensing", "LicenseActivated", {"licenseId": LICENCE})])
    from chain.events import parse_log

    raw = {
        "address": "0x" + SET.licensing.hex(),
        "topics": ["0x" + each.hex() for each in chain.blocks[1].logs[0][1]],
        "data": "0x",
        "blockNumber": "0x1",
        "blockHash": "0x" + "11" * 32,
        "transactionHash": "0x" + "11" * 32,
        "logIndex": "0x0",
    }
    assert changes_of(decoder.decode(parse_log(raw)), 0) == ()
