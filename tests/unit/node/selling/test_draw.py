"""Drawing guardians: by bond, once an account, one of each network."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from marina.ids import Account
from node.selling.draw import Candidate, Seen, network_of, pick, weighted_order
from storage.content.guarded import KeyHolder


def candidate(number: int, bond: int = 100, account: int | None = None) -> Candidate:
    whose = Account(bytes([number if account is None else account]) * 20)
    return Candidate(whose, KeyHolder(bytes([number]) * 32, b"h" * 32), bond)


def test_the_chance_to_come_first_is_in_proportion_to_the_bond():
    rng, rounds = Random(7), 20_000
    candidates = [candidate(1, 100), candidate(2, 300), candidate(3, 600)]
    first = Counter(weighted_order(candidates, rng)[0].bond for _ in range(rounds))
    for bond in (100, 300, 600):
        assert first[bond] / rounds == pytest.approx(bond / 1000, abs=0.02)


def test_everybody_with_a_bond_is_in_the_order_once_and_nobody_without():
    candidates = [candidate(number, number * 10**18) for number in range(20)]
    order = weighted_order(candidates, Random(1))
    assert sorted(each.bond for each in order) == [number * 10**18 for number in range(1, 20)]
    assert order != weighted_order(candidates, Random(2))


def test_one_of_each_network_comes_before_a_second_of_one():
    seen = [
        Seen(candidate(1), None, "203.0.113.0/24"),
        Seen(candidate(2), None, "203.0.113.0/24"),
        Seen(candidate(3), None, "198.51.100.0/24"),
        Seen(candidate(4), None, None),
        Seen(candidate(5), None, None),
    ]
    assert [each.candidate.keys.peer_key[0] for each in pick(seen, 4)] == [1, 3, 4, 5]
    assert [each.candidate.keys.peer_key[0] for each in pick(seen, 5)] == [1, 3, 4, 5, 2]


def test_an_account_gets_one_share_however_many_devices_it_has():
    seen = [Seen(candidate(number, account=1 if number < 3 else number), None) for number in (1, 2, 3)]
    assert [each.candidate.keys.peer_key[0] for each in pick(seen, 3)] == [1, 3]


def test_those_that_do_not_answer_come_last():
    seen = [Seen(candidate(1), "does not answer"), Seen(candidate(2), None), Seen(candidate(3), None)]
    assert [each.candidate.keys.peer_key[0] for each in pick(seen, 2)] == [2, 3]
    assert [each.candidate.keys.peer_key[0] for each in pick(seen, 3)] == [2, 3, 1]


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("8.8.4.77", "8.8.4.0/24"),
        ("::ffff:8.8.4.77", "8.8.4.0/24"),
        ("2a00:1450:4001:81b::200e", "2a00:1450:4001::/48"),
        ("127.0.0.1", None),
        ("192.168.1.4", None),
        ("fe80::1", None),
        ("guardian.example", None),
        ("", None),
    ],
)
def test_a_public_address_has_a_network_and_no_other(host: str, network: str | None):
    assert network_of(host) == network
