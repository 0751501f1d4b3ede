"""Gives py-libp2p's Kademlia Marina's protocol id and limits.

py-libp2p 0.8.1 writes ``/ipfs/kad/1.0.0`` into five modules whatever ``protocol_prefix`` says, each by
a name of its own. A node that announced that id would enter the tables of every IPFS node it meets,
and they ours. This is the one file that knows; ``tests/integration/test_discovery.py`` proves it on the
wire. The limits are module constants in the same way: 4 MiB messages and 1 MiB records.
"""

from __future__ import annotations

from types import ModuleType

from libp2p.custom_types import TProtocol
from libp2p.kad_dht import common, kad_dht, peer_routing, provider_store, routing_table, value_store

PROTOCOL = TProtocol("/marina/kad/1.0.0")
LIBRARY_PROTOCOL = TProtocol("/ipfs/kad/1.0.0")
MESSAGE_BYTES_MAX = 64 * 1024
"""Twenty providers and twenty closer peers with signed records take about 20 KiB."""
RECORD_BYTES_MAX = 4 * 1024
VALUES_MAX = 10_000

_CONSTANTS = {
    "PROTOCOL_ID": PROTOCOL,
    "MAX_DHT_MESSAGE_SIZE": MESSAGE_BYTES_MAX,
    "MAX_RECORD_SIZE": RECORD_BYTES_MAX,
    "MAX_VALUE_STORE_SIZE": VALUES_MAX,
}
_MODULES: tuple[ModuleType, ...] = (
    common,
    kad_dht,
    peer_routing,
    provider_store,
    routing_table,
    value_store,
)


def rebind() -> None:
    """Replace the constants in every module that holds them. Idempotent.

    Raises:
        RuntimeError: the library has changed and holds its id elsewhere; better not to start.
    """
    for module in _MODULES:
        for name, value in _CONSTANTS.items():
            if hasattr(module, name):
                setattr(module, name, value)
    if kad_dht.PROTOCOL_ID != PROTOCOL or common.PROTOCOL_ID != PROTOCOL:
        raise RuntimeError("this version of libp2p keeps its DHT protocol id elsewhere")


rebind()
