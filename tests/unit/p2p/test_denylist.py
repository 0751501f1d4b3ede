import os

import pytest

from marina.cid import cid_of, cid_text
from marina.errors import UsageError
from marina.ids import Account, TrackId, account_text, derive_release_id, release_text, track_text
from p2p.denylist import CHECK_EVERY_S, DeniedError, Denylist, DenySet, parse_denylist

CID = cid_of(b"x")
ARTIST = Account(b"a" * 20)
RELEASE = derive_release_id(ARTIST, b"r" * 32)
TRACK = TrackId(b"t" * 32)


def write(path, text: str, age: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(age, age))


def test_all_four_kinds_of_entry_deny():
    entries = parse_denylist(
        f"# courts\n{cid_text(CID)}\n\n{release_text(RELEASE)}  # why\n{account_text(ARTIST)}\n"
        f"marina:{track_text(TRACK)}\n"
    )
    denylist = Denylist(entries=entries)
    for thing in (
        {"cids": [cid_of(b"y"), CID]},
        {"release": RELEASE},
        {"account": ARTIST},
        {"tracks": iter([TrackId(b"o" * 32), TRACK])},
    ):
        with pytest.raises(DeniedError, match="denylist"):
            denylist.check(**thing)
    denylist.check(
        cids=[cid_of(b"y")],
        tracks=[TrackId(RELEASE)],
        release=derive_release_id(ARTIST, b"o" * 32),
        account=Account(b"b" * 20),
    )


def test_a_followed_list_adds_to_the_operators_own_and_takes_nothing_away():
    denylist = Denylist(entries=parse_denylist(cid_text(CID)))
    denylist.follow(DenySet(tracks=frozenset([TRACK]), cids=frozenset([CID])), "the neighbours' list")
    assert len(denylist) == 3
    with pytest.raises(DeniedError, match=r"^the neighbours' list, which this operator follows, names tr_"):
        denylist.check(tracks=[TRACK])
    with pytest.raises(DeniedError, match=r"^this operator's denylist names b"):
        denylist.check(cids=[CID], tracks=[TRACK])
    denylist.follow(DenySet(), "the neighbours' list")
    assert denylist.reason(tracks=[TRACK]) is None
    assert denylist.reason(cids=[CID]) == cid_text(CID)


@pytest.mark.parametrize("line", ["0x12", "0xzz", "rl_abc", "tr_abc", "hello", "bafy"])
def test_a_broken_line_is_named(line: str):
    with pytest.raises(UsageError, match="line 2"):
        parse_denylist(f"# fine\n{line}\n")


async def test_without_a_file_nothing_is_denied():
    denylist = Denylist()
    assert not await denylist.load()
    denylist.check(cids=[CID])


async def test_the_file_is_followed_and_a_broken_one_leaves_the_last_good_list(tmp_path, nursery, mock_clock):
    import trio

    mock_clock.autojump_threshold = 0.05  # worker threads get real time to finish before minutes pass

    path = tmp_path / "deny.txt"
    write(path, cid_text(CID), 1)
    denylist = Denylist(path=path)
    await nursery.start(denylist.run)
    assert denylist.reason(cids=[CID]) == cid_text(CID)
    write(path, "broken", 2)
    await trio.sleep(CHECK_EVERY_S * 2)
    assert denylist.reason(cids=[CID]) == cid_text(CID)
    path.unlink()
    await trio.sleep(CHECK_EVERY_S * 2)
    assert denylist.reason(cids=[CID]) == cid_text(CID)
    write(path, account_text(ARTIST), 3)
    await trio.sleep(CHECK_EVERY_S * 2)
    assert denylist.reason(cids=[CID]) is None
    assert denylist.reason(account=ARTIST) == account_text(ARTIST)
    nursery.cancel_scope.cancel()


async def test_a_node_does_not_start_with_a_missing_or_broken_list(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        await Denylist(path=tmp_path / "none").load()
    path = tmp_path / "deny.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        await Denylist(path=path).load()
