import pytest

from governance.description import (
    TEXT_BYTES_MAX,
    Description,
    make_description,
    parse_description,
    read_text_block,
    text_block,
)
from marina.errors import DamagedError, MalformedError, UsageError
from marina.ids import Account, account_text

ME = Account(bytes.fromhex("52908400098527886e0f7030069857d2e4169ee7"))


def test_a_description_comes_back_in_its_parts():
    cid, _ = text_block("# Why\n\nBecause.")
    made = make_description("Halve the fee", summary="Artists asked.\n\nTwice.", text=cid, proposer=ME)
    raw = str(made)
    assert raw.endswith(f"#proposer={account_text(ME)}")
    assert parse_description(raw) == made


def test_a_title_alone_is_a_description():
    assert parse_description(str(make_description(" Halve the fee "))) == Description("Halve the fee")


@pytest.mark.parametrize(
    ("title", "summary", "words"),
    [
        ("", "", "title"),
        ("two\nlines", "", "title"),
        ("x" * 121, "", "title"),
        ("ok", "x" * 2_001, "full text"),
        ("right\u202eleft", "", "nobody can see"),
        ("ok", "zero\u200bwidth", "nobody can see"),
        ("ok", "#proposer=0x", "leave them out"),
    ],
)
def test_what_voters_could_not_read_is_not_proposed(title, summary, words):
    with pytest.raises(UsageError, match=words):
        make_description(title, summary=summary)


def test_anybodys_description_is_read_cleanly():
    found = parse_description("\x1b[31mFree\u202e money\n\nText: ipfs://bnot\nmore#proposer=0xzz")
    assert found.title == "[31mFree money"
    assert found.text is None
    assert found.proposer is None
    assert "Text: ipfs://bnot" in found.summary
    assert parse_description("").title == "(no title)"


def test_a_text_is_what_its_cid_names_or_nothing():
    cid, data = text_block("Because \u202e of it")
    assert read_text_block(cid, data) == "Because  of it"
    with pytest.raises(DamagedError, match="another node"):
        read_text_block(cid, data + b"!")
    with pytest.raises(MalformedError):
        read_text_block(cid, bytes(TEXT_BYTES_MAX + 1))
    with pytest.raises(UsageError, match="shorten"):
        text_block("x" * (TEXT_BYTES_MAX + 1))
