"""The description of a proposal: a title, a few sentences, the CID of the full text, the proposer.

::

    Halve the protocol fee

    Artists asked for it; the treasury can bear it.

    Text: ipfs://bafkrei…
    #proposer=0x52908400098527886E0F7030069857D2E4169EE7

The last line is OpenZeppelin's: with it nobody else can make the same proposal first and cancel it.
Source: OpenZeppelin Contracts 5, Governor._isValidDescriptionForProposer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from governance.text import clean_line, clean_text, is_clean
from marina.cid import RAW, Cid, cid_of, cid_text, matches, parse_cid
from marina.errors import DamagedError, MalformedError, UsageError
from marina.ids import Account, account_text, parse_account

TITLE_CHARS_MAX = 120
SUMMARY_CHARS_MAX = 2_000
TEXT_BYTES_MAX = 256 * 1024
"""Longest full text, which is one block on IPFS and not on the chain."""
_TEXT_LINE = re.compile(r"^Text: ipfs://(b[a-z2-7]{58})$", re.MULTILINE)
_PROPOSER = re.compile(r"#proposer=(0x[0-9a-fA-F]{40})\Z")


@dataclass(frozen=True, slots=True)
class Description:
    """A description in its parts; everything is clean text.

    Attributes:
        title: one line.
        summary: the rest that is on the chain; may be empty.
        text: CID of the full text, if there is one.
        proposer: the only account that may propose it, if it says so.
    """

    title: str
    summary: str = ""
    text: Cid | None = None
    proposer: Account | None = None

    def __str__(self) -> str:
        """The text that goes on the chain; ``parse_description`` gives the parts back."""
        parts = [self.title]
        if self.summary:
            parts.append(self.summary)
        tail = []
        if self.text is not None:
            tail.append(f"Text: ipfs://{cid_text(self.text)}")
        if self.proposer is not None:
            tail.append(f"#proposer={account_text(self.proposer)}")
        if tail:
            parts.append("\n".join(tail))
        return "\n\n".join(parts)


def make_description(
    title: str, *, summary: str = "", text: Cid | None = None, proposer: Account | None = None
) -> Description:
    """Return a description to propose.

    Raises:
        UsageError: the title is empty or of several lines, something is too long, or holds invisible
            characters that voters could not see.
    """
    title, summary = title.strip(), summary.strip().expandtabs(4)
    if not title or "\n" in title or len(title) > TITLE_CHARS_MAX:
        raise UsageError(f"a proposal needs a title of one line, at most {TITLE_CHARS_MAX} characters")
    if len(summary) > SUMMARY_CHARS_MAX:
        raise UsageError(
            f"the summary has {len(summary)} characters, at most {SUMMARY_CHARS_MAX} go on the chain: "
            "put the rest into the full text"
        )
    if not is_clean(title) or not is_clean(summary):
        raise UsageError("the description holds characters that nobody can see: remove them")
    if title.startswith("Text: ipfs://") or _TEXT_LINE.search(summary) or "#proposer=" in title + summary:
        raise UsageError("'Text: ipfs://' and '#proposer=' are written by Marina: leave them out")
    return Description(title, re.sub(r"\n{3,}", "\n\n", summary), text, proposer)


def parse_description(raw: str) -> Description:
    """Return the parts of anybody's description; never fails, whatever it holds."""
    text_cid: Cid | None = None
    proposer: Account | None = None
    body = raw
    if found := _PROPOSER.search(body):
        proposer = parse_account(found[1])
        body = body[: found.start()]
    lines = list(_TEXT_LINE.finditer(body))
    if lines:
        try:
            text_cid = parse_cid(lines[-1][1])
            body = body[: lines[-1].start()] + body[lines[-1].end() :]
        except MalformedError:
            text_cid = None  # not a CID after all: it stays in the summary for the voter to see
    head, _, rest = clean_text(body).partition("\n")
    title = clean_line(head, chars_max=TITLE_CHARS_MAX) or "(no title)"
    return Description(title, rest.strip(), text_cid, proposer)


def text_block(text: str) -> tuple[Cid, bytes]:
    """Return CID and bytes of a proposal's full text, one raw block.

    Raises:
        UsageError: it is longer than 256 KiB.
    """
    data = text.encode()
    if len(data) > TEXT_BYTES_MAX:
        raise UsageError(f"the text has {len(data)} bytes, at most {TEXT_BYTES_MAX} are allowed: shorten it")
    return cid_of(data, RAW), data


def read_text_block(cid: Cid, data: bytes) -> str:
    """Return the clean full text of a block that somebody sent.

    Raises:
        DamagedError: the bytes are not those of the CID.
        MalformedError: they are longer than a text may be.
    """
    if len(data) > TEXT_BYTES_MAX:
        raise MalformedError(f"the proposal's text has more than {TEXT_BYTES_MAX} bytes")
    if not matches(cid, data):
        raise DamagedError("the proposal's text is not the one that its CID names: ask another node for it")
    return clean_text(data.decode("utf-8", "replace"), chars_max=TEXT_BYTES_MAX)
