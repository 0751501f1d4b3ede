import hashlib

import pytest

from governance.errors import WrongListError
from governance.moderation import (
    ENTRIES_MAX,
    DeniedIds,
    Entry,
    Kind,
    ModerationList,
    decode_list,
    denied_ids,
    difference,
    encode_list,
    list_cid,
    make_entry,
    make_list,
    merge_denied,
    parse_entries,
    reason_of,
)
from marina.cid import DAG_CBOR, cid_of, cid_text, digest_of, matches
from marina.errors import MalformedError, UsageError
from marina.ids import ReleaseId, TrackId, release_text, track_text
from marina.schema import encode_record
from p2p.wire.block import BLOCK_BYTES_MAX

RELEASE, TRACK = ReleaseId(b"\x11" * 32), TrackId(b"\x22" * 32)
CID = cid_of(b"a manifest", DAG_CBOR)
ENTRIES = (
    make_entry(release_text(RELEASE), "court order 12 O 34/26"),
    make_entry(f"marina:{track_text(TRACK)}", "not the uploader's recording"),
    make_entry(cid_text(CID), "malware in the cover"),
)


def test_a_list_has_one_digest_whatever_the_order_it_was_written_in():
    digest, block = encode_list(make_list(ENTRIES))
    assert encode_list(make_list(reversed(ENTRIES))) == (digest, block)
    assert digest == hashlib.sha256(block).digest() == digest_of(list_cid(digest))
    assert matches(list_cid(digest), block)
    assert decode_list(block, digest) == make_list(ENTRIES)


def test_a_text_holds_a_name_and_a_reason_a_line():
    text = (
        f"# of this spring\r\n\n{release_text(RELEASE)}  court order 12 O 34/26\n"
        f"marina:{track_text(TRACK)}\t# not the uploader's recording\n"
        f"  {cid_text(CID)} malware in the cover\n"
    )
    assert parse_entries(text) == ENTRIES
    assert parse_entries("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"# a\n{release_text(RELEASE)}", "line 2: an entry needs a reason"),
        (f"{release_text(RELEASE)} #", "line 1: an entry needs a reason"),
        ("0x52908400098527886E0F7030069857D2E4169EE7 an account", "line 1: .* is neither a release"),
        (f"{release_text(RELEASE)} bidi \u202e", "line 1: an entry needs a reason"),
        (f"{release_text(RELEASE)} why\n" * (ENTRIES_MAX + 1), f"line {ENTRIES_MAX + 1} is one more"),
    ],
)
def test_a_line_that_is_no_entry_is_named(text: str, said: str):
    with pytest.raises(UsageError, match=said):
        parse_entries(text)


def test_a_list_is_never_larger_than_what_peers_send_as_one_block():
    things = [cid_of(number.to_bytes(4), DAG_CBOR) for number in range(4000)]
    fitting = make_list(Entry(Kind.CID, each, "r" * 80) for each in things)
    assert len(encode_list(fitting)[1]) <= BLOCK_BYTES_MAX
    with pytest.raises(UsageError, match="shorten the reasons"):
        encode_list(make_list(Entry(Kind.CID, each, "r" * 160) for each in things))


def test_a_block_that_was_not_adopted_is_refused():
    digest, block = encode_list(make_list(ENTRIES))
    with pytest.raises(WrongListError, match="another node"):
        decode_list(block[:-1] + b"\x00", digest)
    with pytest.raises(MalformedError, match="at most"):
        decode_list(bytes(2 * 1024 * 1024 + 1), digest)


@pytest.mark.parametrize(
    "entries",
    [
        ENTRIES[::-1],
        (ENTRIES[0], ENTRIES[0]),
        (Entry(Kind.RELEASE, bytes(36), "a release with a CID's length"),),
        (Entry(Kind.CID, bytes(36), "no CID"),),
        (Entry(Kind.TRACK, TRACK, "bidi \u202e"),),
        (Entry(Kind.TRACK, TRACK, "two\nlines"),),
    ],
    ids=["unsorted", "twice", "long id", "no CID", "bidi", "lines"],
)
def test_an_adopted_block_that_is_no_canonical_list_is_refused(entries):
    block = encode_record(ModerationList(bytes(32), entries))
    with pytest.raises(MalformedError):
        decode_list(block, hashlib.sha256(block).digest())


def test_an_operator_follows_only_after_saying_so_and_keeps_its_own_list():
    own = DeniedIds(releases=frozenset({ReleaseId(b"\x99" * 32)}))
    adopted = make_list(ENTRIES)
    assert merge_denied(own, adopted, is_followed=False) == own
    assert merge_denied(own, None, is_followed=True) == own
    merged = merge_denied(own, adopted, is_followed=True)
    assert merged.releases == {RELEASE, ReleaseId(b"\x99" * 32)}
    assert merged.tracks == {TRACK}
    assert merged.cids == {CID}
    assert denied_ids(adopted) == DeniedIds(frozenset({RELEASE}), frozenset({TRACK}), frozenset({CID}))


def test_people_learn_why_and_what_a_new_list_changes():
    first = make_list(ENTRIES[:2])
    second = make_list(ENTRIES[1:], previous=encode_list(first)[0])
    assert reason_of(second, CID) == "malware in the cover"
    assert reason_of(second, RELEASE) is None
    assert difference(first, second) == ((ENTRIES[2],), (ENTRIES[0],))
    assert difference(None, first) == (ENTRIES[:2], ())
    assert str(ENTRIES[0]) == f"{release_text(RELEASE)}  court order 12 O 34/26"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rl_short", "x"),
        ("0x12", "x"),
        (release_text(RELEASE), ""),
        (release_text(RELEASE), "a\x1b[2J"),
        (release_text(RELEASE), "é" * 81),
    ],
)
def test_an_entry_needs_a_name_and_a_plain_reason(name, reason):
    with pytest.raises(UsageError):
        make_entry(name, reason)


def test_a_thing_is_named_once_and_a_list_has_an_end():
    with pytest.raises(UsageError, match="twice"):
        make_list([ENTRIES[0], make_entry(release_text(RELEASE), "again")])
    many = [Entry(Kind.TRACK, number.to_bytes(32), "x") for number in range(ENTRIES_MAX + 1)]
    with pytest.raises(UsageError, match="at most 10000"):
        make_list(many)
    full = make_list(many[1:])
    digest, block = encode_list(full)
    assert decode_list(block, digest) == full
