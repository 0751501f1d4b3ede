"""The trustless gateway: what it answers, what it refuses, and how it stands up to whoever comes."""

from __future__ import annotations

import os
import socket
from random import Random

import httpx
import pytest
import trio

from marina.cid import DAG_CBOR, cid_of, cid_text, digest_of
from marina.dagcbor import Link, encode
from node.api.bind import PortTakenError
from node.settings import GatewaySettings
from storage.blocks.memory import MemoryBlockStore
from storage.content.car import CarBlock, read_car
from storage.content.layout import SegmentPlan
from storage.content.unixfs import Leaf, build_file, rendition_file
from tests.support.gateways import PEER, gateway_over, gateway_service

MIB = 1024 * 1024


def client(url, **options):
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=10, **options)


async def said_to(url, data, patience_s=4):
    """Return what comes back until the gateway closes the connection; fails when it does not."""
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        said = b""
        with trio.fail_after(patience_s):
            try:
                await stream.send_all(data)
                while part := await stream.receive_some(65536):
                    said += part
            except trio.BrokenResourceError:
                return said
        return said


class Shelf:
    """A store with a release-like tree: a manifest over a rendition and a raw block."""

    def __init__(self):
        self.store = MemoryBlockStore(1 << 30)

    async def fill(self, size_bytes=2 * MIB):
        plan = SegmentPlan(size_bytes)
        segments = [Random(number).randbytes(size) for number, size in enumerate(plan.lengths())]
        self.layout, self.tree = rendition_file(
            size_bytes, b"".join(digest_of(cid_of(each)) for each in segments)
        )
        await self.store.declare(self.layout)
        await self.store.put_segments(self.layout.root, list(enumerate(segments)))
        self.sound = b"".join(segments)
        self.cover = os.urandom(5000)
        self.manifest = encode(
            {"a": Link(self.layout.root), "b": Link(cid_of(self.cover)), "c": Link(self.layout.root)}
        )
        self.root = cid_of(self.manifest, DAG_CBOR)
        await self.store.put_many({self.root: self.manifest, cid_of(self.cover): self.cover})
        return self


async def test_a_raw_block_comes_with_the_headers_of_the_specification():
    shelf = await Shelf().fill()
    name = cid_text(shelf.root)
    async with gateway_over(shelf.store) as url, client(url) as http:
        answer = await http.get(f"/ipfs/{name}?format=raw")
        assert (answer.status_code, answer.content) == (200, shelf.manifest)
        assert answer.headers["content-type"] == "application/vnd.ipld.raw"
        assert answer.headers["etag"] == f'"{name}.raw"'
        assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}.bin"'
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert "set-cookie" not in answer.headers
        by_accept = await http.get(f"/ipfs/{name}", headers={"Accept": "application/vnd.ipld.raw"})
        assert by_accept.content == shelf.manifest
        known = await http.get(f"/ipfs/{name}?format=raw", headers={"If-None-Match": f'W/"{name}.raw"'})
        assert (known.status_code, known.content) == (304, b"")
        head = await http.head(f"/ipfs/{name}?format=raw")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(shelf.manifest)))
        segment = await http.get(f"/ipfs/{cid_text(shelf.layout.cid(4))}?format=raw")
        span = shelf.layout.plan.ciphertext(4)
        assert segment.content == shelf.sound[span.start : span.end]


async def test_a_car_holds_the_whole_tree_depth_first_and_each_block_once():
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store) as url, client(url) as http:
        answer = await http.get(f"/ipfs/{cid_text(shelf.root)}?format=car")
        assert answer.headers["content-type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
        reader = read_car(answer.content)
        blocks = list(reader)
        assert reader.roots == (shelf.root,)
        assert all(isinstance(each, CarBlock) for each in blocks)
        cids = [each.cid for each in blocks]
        leaves = [shelf.layout.cid(index) for index in range(shelf.layout.plan.count)]
        assert cids[:2] == [shelf.root, shelf.layout.root]
        assert cids[-1] == cid_of(shelf.cover)
        assert [cid for cid in cids if cid in set(leaves)] == leaves
        assert len(set(cids)) == len(cids) == len(leaves) + len(shelf.tree.nodes) + 2
        by_accept = await http.get(
            f"/ipfs/{cid_text(shelf.root)}", headers={"Accept": "application/vnd.ipld.car; version=1"}
        )
        assert by_accept.content == answer.content


@pytest.mark.parametrize(("scope", "count"), [("block", 1), ("entity", 1), ("all", None)])
async def test_a_scope_says_how_much(scope, count):
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store) as url, client(url) as http:
        answer = await http.get(f"/ipfs/{cid_text(shelf.root)}?format=car&dag-scope={scope}")
        found = list(read_car(answer.content))
        assert len(found) == count if count else len(found) > 10
        file = await http.get(f"/ipfs/{cid_text(shelf.layout.root)}?format=car&dag-scope=entity")
        assert len(list(read_car(file.content))) == shelf.layout.plan.count + len(shelf.tree.nodes)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0:0", 0, 0), ("0:*", 0, None), ("300000:700000", 300_000, 700_000), ("-70000:*", -70_000, None),
     ("100:-1000000", 100, -1_000_000)],
)  # fmt: skip
async def test_a_part_of_a_file_comes_with_the_blocks_it_takes_and_no_others(asked, first, last):
    shelf = await Shelf().fill()
    size, plan = len(shelf.sound), shelf.layout.plan
    start = first % size
    end = size if last is None else last % size + 1
    wanted = {
        shelf.layout.cid(index)
        for index in range(plan.count)
        if plan.ciphertext(index).start < end and plan.ciphertext(index).end > start
    }
    async with gateway_over(shelf.store) as url, client(url) as http:
        query = f"format=car&dag-scope=entity&entity-bytes={asked}"
        answer = await http.get(f"/ipfs/{cid_text(shelf.layout.root)}?{query}")
        assert {each.cid for each in read_car(answer.content)} == {shelf.layout.root, *wanted}


async def test_a_tree_that_is_not_whole_ends_in_a_broken_answer_and_never_in_a_whole_one():
    shelf = await Shelf().fill()
    await shelf.store.delete(shelf.layout.cid(5))
    async with gateway_over(shelf.store) as url, client(url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"/ipfs/{cid_text(shelf.root)}?format=car")
        assert (await http.get(f"/ipfs/{cid_text(shelf.root)}?format=raw")).status_code == 200


async def test_providers_are_this_node_for_what_is_here_and_nobody_for_the_rest():
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store) as url, client(url) as http:
        answer = (await http.get(f"/routing/v1/providers/{cid_text(shelf.root)}")).json()
        (record,) = answer["Providers"]
        assert record["ID"] == PEER
        assert record["Protocols"] == ["transport-bitswap", "transport-ipfs-gateway-http"]
        assert record["Addrs"][0] == f"/ip4/127.0.0.1/tcp/{url.rpartition(':')[2]}/http"
        nobody = (await http.get(f"/routing/v1/providers/{cid_text(cid_of(b'x'))}")).json()
        assert nobody == {"Providers": []}
        lines = await http.get(
            f"/routing/v1/providers/{cid_text(shelf.root)}", headers={"Accept": "application/x-ndjson"}
        )
        assert lines.headers["content-type"] == "application/x-ndjson"
        assert lines.text.count("\n") == 1


async def test_everything_else_is_refused_in_one_sentence():
    shelf = await Shelf().fill()
    name = cid_text(shelf.root)
    missing, denied = cid_text(cid_of(b"nowhere")), cid_text(cid_of(shelf.cover))
    cases = [
        ("GET", f"/ipfs/{name}", 406), ("GET", f"/ipfs/{name}?format=tar", 406),
        ("GET", f"/ipfs/{name}/song?format=raw", 400), ("GET", "/ipfs/nonsense?format=raw", 400),
        ("GET", f"/ipfs/{missing}?format=raw", 404), ("GET", f"/ipfs/{missing}?format=car", 404),
        ("GET", f"/ipfs/{denied}?format=raw", 410), ("GET", f"/ipfs/{name}?format=car&dag-scope=some", 400),
        ("GET", f"/ipfs/{name}?format=car&car-version=2", 400),
        ("GET", f"/ipfs/{name}?format=car&dag-scope=entity&entity-bytes=a:b", 400),
        ("GET", "/", 404), ("GET", "/api/v1/status", 404), ("GET", "/ipns/name", 404),
        ("GET", f"/routing/v1/providers/{'q' * 50}", 400), ("GET", f"/ipfs/{name}?{'x' * 2000}", 414),
        ("GET", f"/ipfs/{name}?{'a=1&' * 40}", 400),
        ("PUT", f"/ipfs/{name}", 405), ("DELETE", f"/ipfs/{name}?format=raw", 405), ("POST", "/ipfs/", 405),
    ]  # fmt: skip
    denied_cids = frozenset({cid_of(shelf.cover)})
    async with gateway_over(shelf.store, denied=denied_cids) as url, client(url) as http:
        for method, target, status in cases:
            answer = await http.request(method, target)
            assert answer.status_code == status, (method, target)
            assert answer.headers["content-type"].startswith("text/plain")
            assert answer.text.count("\n") == 1
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"/ipfs/{name}?format=car")  # something denied is below it
        preflight = await http.options(f"/ipfs/{name}?format=raw")
        assert (preflight.status_code, preflight.content) == (204, b"")


async def test_one_network_has_its_rate_and_its_connections():
    shelf = await Shelf().fill()
    path = f"/ipfs/{cid_text(shelf.root)}?format=raw"
    async with gateway_over(shelf.store, requests_per_s=1) as url, client(url) as http:
        statuses = [(await http.get(path)).status_code for _ in range(12)]
        assert statuses[:10] == [200] * 10
        refused = await http.get(path)
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
    async with gateway_over(shelf.store, connections_of_one_max=2, idle_s=5) as url:
        port = int(url.rpartition(":")[2])
        held = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        await trio.sleep(0.1)
        third = await trio.open_tcp_stream("127.0.0.1", port)
        await third.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await third.receive_some(100)).startswith(b"HTTP/1.1 503")
        for each in (*held, third):
            await each.aclose()


async def test_the_upload_cap_of_the_node_holds_for_the_gateway_too():
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store, upload_bytes_per_s=500_000) as url, client(url) as http:
        started_s = trio.current_time()
        for index in (5, 6):
            await http.get(f"/ipfs/{cid_text(shelf.layout.cid(index))}?format=raw")
        assert trio.current_time() - started_s > 0.7  # half a megabyte, less the burst


async def test_who_does_not_read_or_does_not_ask_is_cut_off():
    shelf = await Shelf().fill(24 * MIB)
    async with gateway_over(shelf.store, send_s=0.3, idle_s=0.3) as url:
        assert await said_to(url, b"GET /ipfs/", 3) == b""
        ask = f"GET /ipfs/{cid_text(shelf.root)}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as sleeper:
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await sleeper.send_all(ask)
            await trio.sleep(1)
            received = 0
            with trio.fail_after(5):
                try:
                    while part := await sleeper.receive_some(65536):
                        received += len(part)
                except trio.BrokenResourceError:
                    received += 0
        assert received < 24 * MIB


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
     b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: -1\r\nHost: a\r\n\r\n", os.urandom(4000)],
)  # fmt: skip
async def test_what_is_no_request_ends_its_own_connection_only(data):
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store, idle_s=1) as url, client(url) as http:
        said = await said_to(url, data)
        assert not said or said.startswith(b"HTTP/1.1 4")
        assert (await http.get(f"/ipfs/{cid_text(shelf.root)}?format=raw")).status_code == 200


async def test_a_body_is_never_read_and_ends_the_connection():
    shelf = await Shelf().fill()
    async with gateway_over(shelf.store) as url:
        asked = b"POST /ipfs/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        said = await said_to(url, asked + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3)
        assert said.count(b"HTTP/1.1") == 1
        assert said.startswith(b"HTTP/1.1 405")


async def test_a_tree_that_names_one_block_again_and_again_sends_it_once():
    store = MemoryBlockStore(1 << 30)
    data = os.urandom(1000)
    await store.put(cid_of(data), data)
    child = Leaf(cid_of(data), len(data), len(data))
    for _ in range(6):
        tree = build_file([child] * 30)
        ((cid, node),) = tree.nodes
        await store.put(cid, node)
        child = Leaf(cid, 30 * child.file_bytes, len(node) + 30 * child.tree_bytes)
    async with gateway_over(store) as url, client(url) as http:
        for query in ("dag-scope=all", "dag-scope=entity&entity-bytes=0:*"):
            answer = await http.get(f"/ipfs/{cid_text(child.cid)}?format=car&{query}")
            assert len(list(read_car(answer.content))) == 7


async def test_other_parts_of_a_node_that_stands_in_a_file_twice_are_not_forgotten():
    store = MemoryBlockStore(1 << 30)
    blocks = [os.urandom(1000) for _ in range(3)]
    await store.put_many({cid_of(each): each for each in blocks})
    inner = build_file([Leaf(cid_of(each), 1000, 1000) for each in blocks])
    twice = build_file([Leaf(inner.root, 3000, 3000)] * 2)
    await store.put_many(dict([*inner.nodes, *twice.nodes]))
    async with gateway_over(store) as url, client(url) as http:
        # The end of the first and the head of the second.
        query = "format=car&dag-scope=entity&entity-bytes=2500:3500"
        answer = await http.get(f"/ipfs/{cid_text(twice.root)}?{query}")
        found = [each.cid for each in read_car(answer.content)]
    assert sorted(found) == sorted([twice.root, inner.root, cid_of(blocks[0]), cid_of(blocks[2])])


async def test_switched_on_again_it_stays_where_it_is():
    async with gateway_service(MemoryBlockStore(1 << 20), settings=GatewaySettings()) as service:
        service.switch_on("127.0.0.1", 0)
        (url,) = service.urls()
        port = int(url.rpartition(":")[2])
        service.switch_on("127.0.0.1", port)
        service.switch_on("127.0.0.1", port)
        assert service.urls() == [url]
        service.switch_off()
        assert (service.settings.host, service.settings.port) == ("127.0.0.1", port)
        service.switch_on(service.settings.host, service.settings.port)
        assert service.urls() == [url]


async def test_it_is_switched_off_and_on_and_elsewhere_while_it_runs():
    shelf = await Shelf().fill()
    path = f"/ipfs/{cid_text(shelf.root)}?format=raw"
    async with gateway_service(shelf.store, settings=GatewaySettings()) as service:
        assert service.facts()["on"] is False
        assert service.addresses() == []
        service.switch_on("127.0.0.1", 0)
        (url,) = service.facts()["urls"]
        async with client(url) as http:
            assert (await http.get(path)).status_code == 200
            service.switch_on("127.0.0.1", 0)
            (second,) = service.facts()["urls"]
            assert second != url
            with pytest.raises(httpx.TransportError):
                await http.get(path)
        with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTakenError):
            service.switch_on("127.0.0.1", other.getsockname()[1])
        async with client(second) as http:
            assert (await http.get(path)).status_code == 200
            service.switch_off()
            with pytest.raises(httpx.TransportError):
                await http.get(path)
    taken = GatewaySettings(enabled=True, port=1, host="127.0.0.1")
    if os.geteuid():
        async with gateway_service(shelf.store, settings=taken) as service:
            assert service.facts()["problem"]
