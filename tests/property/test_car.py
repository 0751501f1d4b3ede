"""CAR files and links: what is written comes back, and damage is named and costs nothing else."""

from __future__ import annotations

import io

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina import dagcbor
from marina.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_from_digest, cid_of, cid_text
from marina.dagcbor import Link
from marina.errors import MalformedError
from marina.protowire import varint
from storage.content.car import (
    BLOCK_BYTES_MAX,
    CarBlock,
    CarFault,
    CarReader,
    car_header,
    car_section,
    read_car,
)
from storage.content.links import links_of
from storage.content.unixfs import Leaf, build_file

codecs = st.sampled_from([RAW, DAG_PB, DAG_CBOR])
blocks = st.lists(st.tuples(codecs, st.binary(max_size=300)), max_size=8)


def file_of(parts) -> bytes:
    made = [(cid_of(data, codec), data) for codec, data in parts]
    header = car_header([cid for cid, _ in made[:2]])
    return header + b"".join(bytes(each) for cid, data in made for each in car_section(cid, data))


@given(blocks)
def test_what_is_written_comes_back_with_its_roots(parts) -> None:
    reader = read_car(file_of(parts))
    assert list(reader.roots) == [cid_of(data, codec) for codec, data in parts[:2]]
    assert list(reader) == [CarBlock(cid_of(data, codec), data) for codec, data in parts]


@given(blocks, st.data())
def test_a_file_that_is_cut_off_gives_what_is_whole_and_then_says_where(parts, drawn) -> None:
    data = file_of(parts)
    cut = data[: drawn.draw(st.integers(0, max(0, len(data) - 1)))]
    found = []
    said = "CAR file"
    try:
        found.extend(read_car(cut))
    except MalformedError as err:
        said = str(err)
    assert "CAR file" in said
    whole = [CarBlock(cid_of(data, codec), data) for codec, data in parts]
    assert found == whole[: len(found)]


def test_cut_anywhere_every_block_before_the_cut_is_given_and_a_cut_inside_one_is_said() -> None:
    parts = [(RAW, b""), (RAW, b"x" * 200), (DAG_CBOR, dagcbor.encode({"a": 1}))]
    data = file_of(parts)
    reader = read_car(data)
    ends = [reader.offset]
    ends += [reader.offset for _ in reader]
    assert ends[-1] == len(data)
    for size in range(ends[0], len(data)):
        given_blocks, is_whole = 0, True
        try:
            for _ in read_car(data[:size]):
                given_blocks += 1
        except MalformedError:
            is_whole = False
        assert given_blocks == sum(end <= size for end in ends[1:])
        assert is_whole == (size in ends)


@given(blocks, st.data())
def test_a_flipped_bit_never_yields_bytes_under_a_cid_that_they_do_not_hash_to(parts, drawn) -> None:
    data = bytearray(file_of(parts))
    data[drawn.draw(st.integers(0, len(data) - 1))] ^= 1 << drawn.draw(st.integers(0, 7))
    try:
        for each in read_car(bytes(data)):
            if isinstance(each, CarBlock):
                assert cid_of(each.data, each.cid[1]) == each.cid
    except MalformedError:
        return


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_car_file_or_malformed(data) -> None:
    try:
        list(read_car(data))
    except MalformedError:
        return


def test_a_wrong_block_is_named_with_its_place_and_the_others_are_kept() -> None:
    good, bad, last = cid_of(b"good"), cid_of(b"bad"), cid_of(b"last")
    header = car_header([good])
    first = b"".join(map(bytes, car_section(good, b"good")))
    wrong = b"".join(map(bytes, car_section(bad, b"BAD")))
    data = header + first + wrong + b"".join(map(bytes, car_section(last, b"last")))
    found = list(read_car(data))
    place = len(header) + len(first)
    assert found == [
        CarBlock(good, b"good"),
        CarFault(cid_text(bad), place, "its bytes do not hash to its CID"),
        CarBlock(last, b"last"),
    ]


def test_version_0_names_and_kinds_that_are_not_known_are_read_over() -> None:
    node = b"\x0a\x00"
    old = cid_of(node, DAG_PB)[2:]
    blake = b"\x01\x55\x1e\x20" + bytes(32)
    data = car_header([]) + varint(len(old + node)) + old + node + varint(len(blake) + 3) + blake + b"xyz"
    one, two = read_car(data)
    assert one == CarBlock(cid_of(node, DAG_PB), node)
    assert isinstance(two, CarFault)
    assert two.name == blake.hex()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no CAR file"),
        (b"\x0a" + cbor2.dumps({"version": 2}), "version 2"),
        (b"\x05hello", "no CAR file"),
        (varint(1 << 20) + bytes(10), "no CAR file"),
        (varint((1 << 64) - 1) + bytes(10), "CAR file"),
        (b"\xff" * 100_000, "CAR file"),
        (car_header([]) + b"\xff" * 100_000, "CAR file"),
        (car_header([]) + varint(BLOCK_BYTES_MAX + 1000), "2 MiB"),
        (car_header([]) + varint(4) + b"\x01\x55\x12\xff", "no CID"),
    ],
)
def test_what_is_no_car_file_is_said_in_words(data, words) -> None:
    with pytest.raises(MalformedError, match=words):
        list(read_car(data))


def test_a_hundred_thousand_tiny_blocks_take_no_memory_for_those_behind() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.left, self.buffer = 100_000, car_header([])

        def read(self, size=-1):
            while len(self.buffer) < size and self.left:
                self.left -= 1
                data = self.left.to_bytes(4)
                self.buffer += b"".join(map(bytes, car_section(cid_of(data), data)))
            out, self.buffer = self.buffer[:size], self.buffer[size:]
            return out

    assert sum(1 for _ in CarReader(Endless())) == 100_000


@given(st.lists(st.binary(min_size=32, max_size=32).map(cid_from_digest), min_size=1, max_size=20))
def test_the_links_of_a_node_are_those_that_were_put_in(cids: list[Cid]) -> None:
    tree = build_file([Leaf(each, 7, 7) for each in cids] if len(cids) > 1 else [Leaf(cids[0], 7, 7)] * 2)
    root, data = tree.nodes[-1]
    assert list(links_of(root, data)) == (cids if len(cids) > 1 else cids * 2)
    node = dagcbor.encode(
        {"a": [Link(each) for each in cids], "b": {"c": Link(cids[0]), "d": bytes(cids[0])}}
    )
    assert list(links_of(cid_of(node, DAG_CBOR), node)) == [*cids, cids[0]]
    assert links_of(cid_of(node), node) == ()


@given(codecs, st.binary(max_size=200))
def test_links_of_hostile_bytes_are_links_or_malformed(codec, data) -> None:
    try:
        links_of(cid_of(data, codec), data)
    except MalformedError:
        return
