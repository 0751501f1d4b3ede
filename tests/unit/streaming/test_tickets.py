"""Tickets: what opens a stream, and what does not."""

from __future__ import annotations

import base64

import pytest

from marina.secret import Secret
from streaming.errors import TicketError
from streaming.tickets import TICKET_S, issue_ticket, open_ticket, session_of

KEY = Secret(b"k" * 32)
SESSION = bytes(range(16))
NOW_S = 1_800_000_000


def test_a_ticket_names_its_session_and_opens_for_five_minutes():
    ticket = issue_ticket(KEY, SESSION, NOW_S)
    assert session_of(ticket) == SESSION
    open_ticket(KEY, ticket, now_s=NOW_S + TICKET_S, is_alive=False)
    with pytest.raises(TicketError, match="too old"):
        open_ticket(KEY, ticket, now_s=NOW_S + TICKET_S + 1, is_alive=False)


def test_a_ticket_goes_on_while_its_session_plays():
    open_ticket(KEY, issue_ticket(KEY, SESSION, NOW_S), now_s=NOW_S + 10_000, is_alive=True)


def test_a_ticket_of_another_key_is_refused_even_for_a_session_that_plays():
    ticket = issue_ticket(Secret(b"x" * 32), SESSION, NOW_S)
    with pytest.raises(TicketError, match="not valid"):
        open_ticket(KEY, ticket, now_s=NOW_S, is_alive=True)


@pytest.mark.parametrize("place", range(56))
def test_no_byte_of_a_ticket_can_be_changed(place):
    raw = bytearray(base64.urlsafe_b64decode(issue_ticket(KEY, SESSION, NOW_S) + "="))
    raw[place] ^= 1
    forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(TicketError):
        open_ticket(KEY, forged, now_s=NOW_S, is_alive=True)


@pytest.mark.parametrize(
    "text",
    ["", "a", "=", "ticket", "é" * 75, "A" * 74, "A" * 76, "A" * 10_000, "!" + "A" * 74, "A" * 74 + "\n"],
)
def test_what_is_no_ticket_is_refused(text):
    with pytest.raises(TicketError):
        session_of(text)


def test_a_ticket_has_one_spelling():
    ticket = issue_ticket(KEY, SESSION, NOW_S)
    for other in (
        ticket + "=",
        ticket[:40] + "\n" + ticket[40:],
        ticket.replace("_", "/").replace("-", "+") + "!",
    ):
        with pytest.raises(TicketError):
            open_ticket(KEY, other, now_s=NOW_S, is_alive=True)
