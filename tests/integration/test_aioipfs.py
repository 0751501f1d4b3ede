"""What is wrong in aioipfs 0.7.1, reproduced, and the repaired client beside it (storage/kubo/client.py)."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what the bridge leads to
import gc
import threading
import traceback
import warnings

import aioipfs
import pytest
import trio

from marina.cid import cid_of, cid_text
from marina.errors import MalformedError
from marina.secret import Secret
from storage.kubo.address import parse_address
from storage.kubo.asyncio_thread import AsyncioThread
from storage.kubo.client import ANSWER_BYTES_MAX, AnswerTooLargeError, KuboClient
from storage.kubo.errors import KuboAwayError, KuboError
from storage.kubo.rpc import KuboRpc
from tests.support.kubo import running_kubo
from tests.support.odd_kubo import OddKubo

DATA = b"a block"
NAME = cid_text(cid_of(DATA))


@pytest.fixture
def kubo(tmp_path):
    with running_kubo(tmp_path) as daemon:
        yield daemon


@pytest.fixture
async def thread():
    bridge = AsyncioThread("test", calls_max=4)
    yield bridge
    await bridge.stop()
    assert not any(each.name == "test" for each in threading.enumerate())


async def with_client(thread, url, call, *, stock=False, authorization=None):
    address = parse_address(url)

    async def run():
        if stock:
            client = aioipfs.AsyncIPFS(host=address.host, port=address.port)
        else:
            client = KuboClient(
                scheme="http", host=address.host, port=address.port, authorization=authorization
            )
        try:
            return await call(client)
        finally:
            await client.close()

    return await thread.run(run, timeout_s=20)


async def test_the_librarys_block_put_fails_and_ours_sends_bytes(thread, kubo, tmp_path):
    file = tmp_path / "block"
    file.write_bytes(DATA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        try:
            await with_client(thread, kubo.rpc_url, lambda client: client.block.put(str(file)), stock=True)
            said = ""
        except AttributeError as err:
            said = str(err)
            traceback.clear_frames(err.__traceback__)
        gc.collect()
    assert "getbuffer" in said
    assert await with_client(thread, kubo.rpc_url, lambda client: client.block.put(DATA)) == NAME
    assert await with_client(thread, kubo.rpc_url, lambda client: client.block.get(NAME)) == DATA


async def test_the_librarys_car_import_takes_an_error_for_an_answer_and_ours_raises(thread, kubo):
    broken = b"\x05wrong"
    answer = await with_client(thread, kubo.rpc_url, lambda client: client.dag.car_import(broken), stock=True)
    assert answer["Type"] == "error"
    with pytest.raises(aioipfs.APIError):
        await with_client(thread, kubo.rpc_url, lambda client: client.dag.car_import(broken))


async def test_the_library_answers_none_when_nobody_listens_and_ours_raises(thread, kubo):
    url = kubo.rpc_url
    kubo.kill()
    assert await with_client(thread, url, lambda client: client.repo.stat(), stock=True) is None
    with pytest.raises(OSError, match="Cannot connect"):
        await with_client(thread, url, lambda client: client.repo.stat())


async def test_the_library_reads_answers_of_any_size_and_ours_stop(thread):
    with OddKubo() as odd:
        odd.endless = True
        stock = await with_client(thread, odd.url, lambda client: client.block.get(NAME), stock=True)
        assert len(stock) > 8 * ANSWER_BYTES_MAX
        with pytest.raises(AnswerTooLargeError):
            await with_client(thread, odd.url, lambda client: client.block.get(NAME))


async def test_a_token_goes_out_as_a_header_and_never_in_words(thread):
    token = Secret("Bearer a-token")
    with OddKubo() as odd:
        await with_client(thread, odd.url, lambda client: client.core.id(), authorization=token)
        assert odd.requests[0][1]["Authorization"] == "Bearer a-token"
        rpc = KuboRpc(parse_address(odd.url, token))
        odd.answer = (500, "no")
        with pytest.raises(KuboError) as caught:
            await rpc.repo()
        assert "a-token" not in str(caught.value) + repr(rpc.address)
        await rpc.close()


async def test_many_pins_go_and_what_is_not_pinned_is_no_error(kubo):
    rpc = KuboRpc(parse_address(kubo.rpc_url))
    blocks = [(cid_of(data), data) for data in (b"one", b"two", b"three")]
    await rpc.store(blocks)
    kubo.rpc("pin/rm", arg=cid_text(blocks[1][0]), recursive="false")
    await rpc.drop([cid for cid, _ in blocks])
    assert [await rpc.load(cid) for cid, _ in blocks] == [None] * 3
    await rpc.drop([cid for cid, _ in blocks])
    identity = await rpc.identity()
    assert identity.peer_id == kubo.peer_id
    await rpc.close()


async def test_a_cancelled_caller_cancels_the_call_and_a_deadline_ends_it(thread):
    ended = []

    async def sleep():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with trio.move_on_after(0.05) as patience:
        await thread.run(sleep, timeout_s=30)
    assert patience.cancelled_caught
    with pytest.raises(TimeoutError):
        await thread.run(sleep, timeout_s=0.05)
    assert await thread.run(lambda: asyncio.sleep(0, "still here"), timeout_s=5) == "still here"
    assert ended == ["cancelled", "cancelled"]


async def test_only_so_many_calls_are_in_the_thread_at_a_time(thread):
    running, most = 0, 0

    async def call():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(lambda: thread.run(call, timeout_s=5))
    assert most == 4


async def test_stopping_ends_what_runs(thread):
    async def stuck():
        with pytest.raises(ConnectionAbortedError):
            await thread.run(lambda: asyncio.sleep(60), timeout_s=60)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stuck)
            await trio.sleep(0.1)
            await thread.stop()


async def test_a_call_after_closing_starts_anew(kubo):
    rpc = KuboRpc(parse_address(kubo.rpc_url))
    for _ in range(2):
        assert (await rpc.identity()).agent.startswith("kubo/")
        await rpc.close()
    kubo.kill()
    with pytest.raises(KuboAwayError, match="start it"):
        await rpc.identity()
    await rpc.close()


@pytest.mark.parametrize(
    "url",
    ["http://192.0.2.7:5001", "ftp://127.0.0.1:5001", "http://u:p@127.0.0.1:5001", "127.0.0.1:5001", "http://",
     "http://127.0.0.1:5001/api?x=1", "http://127.0.0.1:99999", "http://localhost.example:5001"],
)  # fmt: skip
def test_addresses_that_are_none_or_lead_off_this_machine_in_the_clear_are_refused(url):
    with pytest.raises(MalformedError):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "same"),
    [("http://127.0.0.1:5001", None), ("http://localhost", "http://localhost:5001"),
     ("http://[::1]:5001/", "http://[::1]:5001"), ("https://kubo.example:443", None)],
)  # fmt: skip
def test_addresses_that_are_fine(url, same):
    assert parse_address(url).url == (same or url)


def test_the_library_is_not_loaded_before_it_is_needed():
    import subprocess
    import sys

    code = "import sys, node.services; sys.exit('aioipfs' in sys.modules or 'aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
