"""The quota promises no byte twice and names the limit in people's units."""

from __future__ import annotations

import pytest

from storage.content.layout import SegmentPlan
from storage.content.unixfs import rendition_file
from storage.errors import DiskFullError, QuotaExceededError
from storage.quota import Quota, rendition_charge, rendition_charge_max, size_text


def test_reservations_and_charges_share_one_limit():
    quota = Quota(1000)
    quota.set_charged(600)
    quota.reserve(300)
    with pytest.raises(QuotaExceededError):
        quota.reserve(101)
    quota.reserve(100)
    assert quota.charged_bytes == 1000
    quota.release(300)
    assert quota.shortfall(300) == 0
    assert quota.shortfall(301) == 1


def test_a_limit_below_what_is_kept_refuses_and_does_not_break():
    quota = Quota(1000)
    quota.set_charged(900)
    quota.limit_bytes = 500
    assert quota.shortfall(0) == 400
    with pytest.raises(QuotaExceededError, match=r"900 bytes of the quota of 500 bytes"):
        quota.reserve(1)


def test_the_disk_keeps_its_reserve():
    free = 1000
    quota = Quota(10**9, disk_reserve_bytes=400, free_bytes=lambda: free)
    quota.check_disk(600)
    with pytest.raises(DiskFullError, match="what is stored keeps playing"):
        quota.check_disk(601)
    free = 10_000
    quota.check_disk(601)


@pytest.mark.parametrize("plaintext_bytes", [1, 65_520, 65_521, 400_000, 3_000_000, 300_000_000])
def test_a_staged_rendition_never_outgrows_its_reservation(plaintext_bytes):
    plan = SegmentPlan(plaintext_bytes)
    _, tree = rendition_file(plaintext_bytes, bytes(32 * plan.count))
    node_bytes = sum(len(data) for _, data in tree.nodes)
    assert rendition_charge(plan.ciphertext_bytes, plan.count, node_bytes) <= (
        rendition_charge_max(plan.ciphertext_bytes)
    )


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_900_000_000_000, "1.9 TB"), (2 * 10**9, "2 GB")],
)
def test_sizes_read_like_the_label_on_a_disk(size_bytes, text):
    assert size_text(size_bytes) == text
