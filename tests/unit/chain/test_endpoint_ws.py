"""Endpoints over WebSocket, against servers on loopback that are well, broken, or hostile."""

from __future__ import annotations

import json
import logging
import ssl
import traceback
from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha1
from ipaddress import ip_address
from random import Random

import httpx
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from trio_websocket import ConnectionClosed, serve_websocket

from chain.endpoint import BODY_BYTES_MAX
from chain.errors import ChainUnavailableError, RpcError, WrongChainError
from chain.profiles import PROFILES
from chain.rpc import RpcConfig, RpcPool
from tests.support.wire import TrioClock

KEY = "/v3/SECRETKEY?token=HIDDEN"


class Server:
    """Answers questions; ``say`` changes what, ``greet`` comes before anything is asked."""

    def __init__(self):
        self.chain_id = 31337
        self.connections = 0
        self.asked = []
        self.paths = []
        self.say = None
        self.is_closing_after_each = False

    async def serve(self, request):
        self.paths.append(request.path)
        ws = await request.accept()
        self.connections += 1
        try:
            while True:
                await self.answer(ws, json.loads(await ws.get_message()))
                if self.is_closing_after_each:
                    await ws.aclose()
        except ConnectionClosed:
            return

    async def answer(self, ws, body):
        calls = body if isinstance(body, list) else [body]
        self.asked += [each["method"] for each in calls]
        answers = [self.one(each) for each in calls]
        if self.say is not None and "eth_chainId" not in self.asked[-1:]:
            await self.say(ws, answers)
        else:
            await ws.send_message(json.dumps(answers if isinstance(body, list) else answers[0]))

    def one(self, call):
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] == "eth_chainId":
            return {**reply, "result": hex(self.chain_id)}
        if call["method"] == "refuse":
            return {**reply, "error": {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}}
        return {**reply, "result": call["params"]}


def pool_at(port, *, scheme="ws", path=KEY, timeout_s=5.0, tries_max=1):
    return RpcPool(
        endpoints=[f"{scheme}://127.0.0.1:{port}{path}"],
        profile=PROFILES["dev"],
        clock=TrioClock(),
        rng=Random(1),
        config=RpcConfig(timeout_s=timeout_s, tries_max=tries_max),
    )


@asynccontextmanager
async def serving(server, **kwargs):
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(
            partial(serve_websocket, server.serve, "127.0.0.1", 0, ssl_context=None, handler_nursery=nursery)
        )
        pool = pool_at(listening.port, **kwargs)
        try:
            yield pool
        finally:
            await pool.aclose()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def raw_server(handle):
    """Serve raw TCP."""
    async with trio.open_nursery() as nursery:

        async def guarded(stream):
            try:
                await handle(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        listeners = await nursery.start(partial(trio.serve_tcp, guarded, 0, host="127.0.0.1"))
        pool = pool_at(listeners[0].socket.getsockname()[1])
        try:
            yield pool
        finally:
            await pool.aclose()
            nursery.cancel_scope.cancel()


async def test_questions_are_answered_over_one_connection():
    server = Server()
    async with serving(server) as pool:
        assert await pool.call("m", [1]) == [1]
        assert await pool.call("m", [2]) == [2]
        assert await pool.batch([("m", [n]) for n in range(3)]) == [[0], [1], [2]]
    assert server.asked == ["eth_chainId", *["m"] * 5]
    assert server.connections == 1
    assert server.paths == [KEY]


async def test_a_refusal_has_its_code_and_data():
    async with serving(Server()) as pool:
        with pytest.raises(RpcError) as caught:
            await pool.call("refuse", [])
    assert (caught.value.rpc_code, caught.value.data) == (3, bytes.fromhex("08c379a0"))


async def test_questions_at_once_travel_side_by_side_and_bounded():
    server = Server()
    waiting = 0
    most = 0

    async def slowly(ws, answers):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await trio.sleep(0.02)
        waiting -= 1
        await ws.send_message(json.dumps(answers[0]))

    found = {}
    async with serving(server) as pool:
        await pool.call("m", [0])
        server.say = slowly

        async def ask(n):
            found[n] = await pool.call("m", [n])

        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(ask, n)
    assert found == {n: [n] for n in range(40)}
    assert most == 16
    assert server.connections == 16


async def test_another_chain_is_refused_before_anything_else_is_asked():
    server = Server()
    server.chain_id = 1
    async with serving(server) as pool:
        with pytest.raises(WrongChainError, match="is of chain 1, not of 31337"):
            await pool.call("eth_sendRawTransaction", ["0x00"])
    assert server.asked == ["eth_chainId"]


async def test_a_connection_that_was_closed_meanwhile_is_opened_again():
    server = Server()
    server.is_closing_after_each = True
    async with serving(server) as pool:
        for n in range(3):
            assert await pool.call("m", [n]) == [n]
            await trio.sleep(0.02)
        assert pool.states()[0].is_well
    assert server.connections >= 3


async def test_a_long_answer_in_many_frames_is_read_whole():
    server = Server()
    value = ["ab" * 32] * 20_000

    async def long(ws, answers):
        await ws.send_message(json.dumps({**answers[0], "result": value}))

    async with serving(server) as pool:
        server.say = long
        assert await pool.call("m", []) == value


async def test_bytes_are_as_good_as_text():
    server = Server()

    async def in_bytes(ws, answers):
        await ws.send_message(json.dumps(answers[0]).encode())

    async with serving(server) as pool:
        server.say = in_bytes
        assert await pool.call("m", [5]) == [5]


async def test_a_ping_between_question_and_answer_is_answered():
    server = Server()

    async def pings(ws, answers):
        await ws.ping(b"there?")
        await ws.send_message(json.dumps(answers[0]))

    async with serving(server) as pool:
        server.say = pings
        with trio.fail_after(3):
            assert await pool.call("m", [5]) == [5]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("<html>", "a web page"),
        ("not json", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"id": 99, "result": 1}', "something else than was asked"),
        ("[]", "something else than was asked"),
        ("", "no JSON"),
    ],
)
async def test_an_answer_that_is_none_is_a_fault(said, words):
    server = Server()

    async def says(ws, _answers):
        await ws.send_message(said)

    async with serving(server) as pool:
        server.say = says
        with pytest.raises(ChainUnavailableError):
            await pool.call("m", [])
        assert words in pool.states()[0].fault


async def test_an_answer_to_an_earlier_question_is_not_taken_for_one_to_the_next():
    server = Server()

    async def twice(ws, answers):
        await ws.send_message(json.dumps(answers[0]))
        await ws.send_message(json.dumps(answers[0]))

    async with serving(server) as pool:
        server.say = twice
        assert await pool.call("m", [1]) == [1]
        server.say = None
        with pytest.raises(ChainUnavailableError):
            await pool.call("m", [2])
        assert await pool.call("m", [3]) == [3], "over a new connection"


async def test_an_answer_over_the_limit_is_not_read_to_its_end():
    async def flood(ws, _answers):
        await ws.send_message(b" " * (BODY_BYTES_MAX + 1))

    server = Server()
    async with serving(server) as pool:
        server.say = flood
        with pytest.raises(ChainUnavailableError, match="more than 32 MiB"):
            await pool.call("m", [])


async def test_a_silent_server_costs_its_deadline():
    async def silent(_ws, _answers):
        await trio.sleep_forever()

    server = Server()
    async with serving(server, timeout_s=0.2) as pool:
        server.say = silent
        with pytest.raises(ChainUnavailableError, match=r"did not answer within 0\.2 s"):
            await pool.call("m", [])
        server.say = None
        assert await pool.call("m", [1]) == [1]


async def test_a_server_that_closes_instead_of_answering_is_a_fault():
    async def leaves(ws, _answers):
        await ws.aclose()

    server = Server()
    async with serving(server) as pool:
        server.say = leaves
        with pytest.raises(ChainUnavailableError, match="closed the connection"):
            await pool.call("m", [])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "does not speak WebSocket (HTTP 200)"),
        (b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "does not let this node in (HTTP 401)"),
        (b"HTTP/1.1 429 Slow\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n", "asks for a pause"),
        (b"HTTP/1.1 301 Gone\r\nlocation: wss://x\r\ncontent-length: 0\r\n\r\n", "WebSocket (HTTP 301)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "cannot be reached"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n", "cannot be reached"),
        (b"HTTP/1.1 101 Switching\r\n" + b"x-filler: " + b"a" * 300_000, "cannot be reached"),
        (b"", "closed the connection"),
    ],
)
async def test_a_server_that_speaks_something_else_is_a_fault(reply, words):
    async def handle(stream):
        await stream.receive_some(4096)
        await stream.send_all(reply)

    async with raw_server(handle) as pool:
        with pytest.raises(ChainUnavailableError):
            await pool.call("m", [])
        assert words in pool.states()[0].fault


async def test_a_pause_that_the_handshake_asks_for_is_kept():
    asked = 0

    async def handle(stream):
        nonlocal asked
        asked += 1
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 503 Busy\r\nretry-after: 40\r\ncontent-length: 0\r\n\r\n")

    async with raw_server(handle) as pool:
        for _ in range(3):
            with pytest.raises(ChainUnavailableError):
                await pool.call("m", [])
    assert asked == 1


async def test_random_bytes_in_place_of_frames_are_a_fault_and_nothing_else():
    rng = Random(5)

    async def handle(stream):
        head = (await stream.receive_some(4096)).decode()
        key = next(
            line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        accept = b64encode(sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        yes = ("HTTP/1.1 101 Yes", "upgrade: websocket", "connection: upgrade")
        await stream.send_all("\r\n".join((*yes, f"sec-websocket-accept: {accept}", "", "")).encode())
        await stream.receive_some(4096)
        await stream.send_all(rng.randbytes(rng.randrange(1, 200)))

    async with raw_server(handle) as pool:
        for _ in range(100):
            with pytest.raises(ChainUnavailableError):
                await pool.call("m", [])


def self_signed(folder):
    """Return a certificate for 127.0.0.1 that nobody vouches for, as a PEM file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path


async def test_a_certificate_is_checked(tmp_path, monkeypatch):
    path = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    server = Server()
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(
            partial(
                serve_websocket, server.serve, "127.0.0.1", 0, ssl_context=context, handler_nursery=nursery
            )
        )
        pool = pool_at(listening.port, scheme="wss")
        with pytest.raises(ChainUnavailableError, match="cannot be reached"):
            await pool.call("m", [])
        assert server.connections == 0
        trusting = ssl.create_default_context(cafile=path)
        monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusting)
        assert await pool.call("m", [1]) == [1]
        await pool.aclose()
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_said_without_the_key(caplog):
    caplog.set_level(logging.DEBUG)
    pool = pool_at(1)
    with pytest.raises(ChainUnavailableError, match="free music plays on") as caught:
        await pool.call("m", [])
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(pool.states())
    assert "SECRETKEY" not in told
    assert "HIDDEN" not in told
