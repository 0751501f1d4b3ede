"""The transaction that anchors keyboxes: one for all, and none for none."""

from __future__ import annotations

from dataclasses import replace

from eth_abi import decode

from chain.artifacts import artifact, selector
from chain.market.anchoring import ANCHORS_MAX, Anchor, anchor_drafts
from marina.ids import Account

REGISTRY = Account(b"\x52" * 20)
ANCHOR = Anchor(b"t" * 32, 1, b"d" * 32, 1, 0)


def test_all_of_them_go_into_one_transaction_in_their_order():
    anchors = [replace(ANCHOR, tier=tier, epoch=epoch, finality=2) for tier, epoch in ((1, 4), (2, 5))]
    (draft,) = anchor_drafts(REGISTRY, anchors, title="An Album")
    function = artifact("TrackRegistry").function("anchorKeyboxes")
    assert draft.data[:4] == selector(function)
    (rows,) = decode(["(bytes32,uint8,bytes32,uint32,uint8)[]"], draft.data[4:])
    assert rows == ((b"t" * 32, 1, b"d" * 32, 4, 2), (b"t" * 32, 2, b"d" * 32, 5, 2))
    assert (draft.to, draft.value, draft.what, draft.spend) == (REGISTRY, 0, "registry.anchor", ())
    assert draft.summary == "Anchor the keys of “An Album”: 2 keyboxes of 1 track"


def test_nothing_to_anchor_is_no_transaction():
    assert anchor_drafts(REGISTRY, [], title="An Album") == ()


def test_the_same_anchors_are_one_intent_and_others_another():
    keys = [
        anchor_drafts(REGISTRY, [each], title="x")[0].key
        for each in (ANCHOR, ANCHOR, replace(ANCHOR, digest=b"e" * 32))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_gas_that_is_assumed_covers_what_an_album_takes_with_an_estimates_margin():
    measured = {1: 56_349, 4: 148_891, 20: 656_524}
    for count, gas in measured.items():
        anchors = [replace(ANCHOR, id=bytes([i]) * 32) for i in range(count)]
        (draft,) = anchor_drafts(REGISTRY, anchors, title="x")
        assert gas * 6 // 5 <= draft.gas_guess < 2 * gas


def test_more_than_a_transaction_holds_take_several():
    anchors = [replace(ANCHOR, epoch=epoch + 1) for epoch in range(ANCHORS_MAX + 1)]
    assert len(anchor_drafts(REGISTRY, anchors[:-1], title="x")) == 1
    drafts = anchor_drafts(REGISTRY, anchors, title="x")
    kind = ["(bytes32,uint8,bytes32,uint32,uint8)[]"]
    epochs = [[row[3] for row in decode(kind, each.data[4:])[0]] for each in drafts]
    assert epochs == [list(range(1, ANCHORS_MAX + 1)), [ANCHORS_MAX + 1]]
    assert len({each.key for each in drafts}) == 2
