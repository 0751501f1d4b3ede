"""A child process that answers JSON-RPC with ready-made purchases: an endpoint that costs the reader nothing.

``python -m tools.bench.log_node EVENTS PER_BLOCK`` prints its port and serves until its parent ends.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_abi import encode

from chain.artifacts import abi_type, artifact, topic
from chain.contracts import ContractSet
from marina.ids import Account
from tools.bench.child import die_with_parent

CONTRACTS = ContractSet(*(Account(bytes([0xB0 + each]) * 20) for each in range(7)))
TAIL_BLOCKS = 200
TRACKS = 500
GENESIS_S = 1_800_000_000


class Ledger:
    """The answers, made once."""

    def __init__(self, events: int, per_block: int) -> None:
        self.head = events // per_block + TAIL_BLOCKS
        (entry,) = [each for each in artifact("MusicLicensing").abi if each.get("name") == "LicencePurchased"]
        first = "0x" + topic(entry).hex()
        plain = [abi_type(each) for each in entry["inputs"] if not each["indexed"]]
        address = "0x" + CONTRACTS.licensing.hex()
        self.logs: dict[int, list[str]] = {}
        for number in range(events):
            block = 1 + number // per_block
            buyer = hashlib.sha256(b"buyer %d" % number).digest()[:20]
            track = hashlib.sha256(b"track %d" % (number % TRACKS)).digest()
            licence = hashlib.sha256(buyer + track).digest()
            data = encode(plain, [buyer, 0, 1, 10**15, track[::-1], GENESIS_S + 10**8])
            self.logs.setdefault(block, []).append(
                json.dumps(
                    {
                        "address": address,
                        "topics": [first, _hex(licence), _hex(track), _hex(bytes(12) + buyer)],
                        "data": _hex(data),
                        "blockNumber": hex(block),
                        "blockHash": self.hash(block),
                        "transactionHash": _hex(hashlib.sha256(licence).digest()),
                        "transactionIndex": "0x0",
                        "logIndex": hex(number % per_block),
                        "removed": False,
                    }
                )
            )

    @staticmethod
    def hash(block: int) -> str:
        """Return a block's hash."""
        return _hex(hashlib.sha256(b"block %d" % block).digest())

    def answer(self, method: str, params: list[Any]) -> str:
        """Return the result of one call as JSON."""
        if method == "eth_getLogs" and "blockHash" not in params[0]:
            wanted = range(int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16) + 1)
            return "[" + ",".join(each for block in wanted for each in self.logs.get(block, ())) + "]"
        return json.dumps(self._small(method, params))

    def _small(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return hex(31337)
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getBlockByNumber":
            number = self.head if params[0] == "latest" else int(params[0], 16)
            return {
                "number": hex(number),
                "hash": self.hash(number),
                "parentHash": self.hash(number - 1) if number else "0x" + "00" * 32,
                "timestamp": hex(GENESIS_S + 2 * number),
            }
        if method == "eth_getLogs":
            return []  # the newest blocks hold no event
        raise ValueError(method)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def main(events: int, per_block: int) -> None:
    """Serve until the parent ends."""
    die_with_parent()
    ledger = Ledger(events, per_block)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            many = asked if isinstance(asked, list) else [asked]
            answers = [
                f'{{"jsonrpc":"2.0","id":{json.dumps(each["id"])},'
                f'"result":{ledger.answer(each["method"], each["params"])}}}'
                for each in many
            ]
            body = (f"[{','.join(answers)}]" if isinstance(asked, list) else answers[0]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
