"""Counters and gauges of the network layer."""

from __future__ import annotations

from marina.metrics import Counter, Gauge, Registry


class P2PMetrics:
    """All metrics of this package, declared in one registry.

    Label values are closed sets (protocol ids that this node serves, reasons from the code), never
    peer ids, so that no peer can make the registry grow.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        reg = registry if registry is not None else Registry()
        self.connections = Gauge(
            "marina_p2p_connections", "Established connections", ["direction"], registry=reg
        )
        self.refused = Counter(
            "marina_p2p_refused_total", "Connections and streams refused", ["reason"], registry=reg
        )
        self.dials = Counter("marina_p2p_dials_total", "Outbound dials", ["outcome"], registry=reg)
        self.misbehaviour = Counter(
            "marina_p2p_misbehaviour_total", "Protocol rules broken by peers", ["protocol"], registry=reg
        )
        self.bans = Counter("marina_p2p_bans_total", "Peers banned", ["reason"], registry=reg)
        self.handler_errors = Counter(
            "marina_p2p_handler_errors_total", "Defects caught in stream handlers", ["protocol"], registry=reg
        )
        self.peer_errors = Counter(
            "marina_p2p_peer_errors_total", "Streams ended by a peer's failure", ["protocol"], registry=reg
        )
        self.events_dropped = Counter(
            "marina_p2p_events_dropped_total", "Connection events a subscriber was too slow for", registry=reg
        )
        self.bytes_sent = Counter("marina_p2p_chunk_sent_bytes_total", "Segment bytes served", registry=reg)
        self.bytes_received = Counter(
            "marina_p2p_chunk_received_bytes_total", "Segment bytes fetched", registry=reg
        )
        self.chunk_replies = Counter(
            "marina_p2p_chunk_replies_total", "Chunk replies sent", ["status"], registry=reg
        )
