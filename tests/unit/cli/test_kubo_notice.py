"""Whether a Kubo node on this machine is noticed, and how long anything else there can hold us up."""

from __future__ import annotations

import socket
import time

from cli.kubo_notice import local_kubo
from tests.support.odd_kubo import OddKubo


def test_a_node_that_answers_is_noticed_with_its_version():
    with OddKubo() as kubo:
        kubo.facts = {"Version": "0.42.0", "Commit": ""}
        assert local_kubo(int(kubo.url.rpartition(":")[2])) == "0.42.0"
        assert kubo.requests[0][0] == "/api/v0/version"


def test_what_is_no_kubo_is_not_taken_for_one():
    with OddKubo() as other:
        port = int(other.url.rpartition(":")[2])
        for facts in ({"Version": 7}, ["0.42.0"], "0.42.0", {}):
            other.facts = facts
            assert local_kubo(port) is None
        other.facts, other.answer = None, (403, "no")
        assert local_kubo(port) is None
        other.redirect = "http://192.0.2.1/"
        assert local_kubo(port) is None


def test_nobody_and_somebody_who_says_nothing_cost_less_than_a_second():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        started_s = time.monotonic()
        assert local_kubo(port) is None
        silent.listen()
        assert local_kubo(port) is None
        assert time.monotonic() - started_s < 2
