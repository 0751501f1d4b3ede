"""Limits and deadlines of the network layer, each with its unit and where it comes from.

The dataclasses are plain values: ``node`` fills them from the settings, tests and benchmarks pass
their own. Defaults follow the design, security §5.2 and architecture §13 unless a line says more.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The libp2p host.

    Attributes:
        listen_addrs: TCP multiaddrs to listen on; port 0 lets the system choose.
        connections_in_max: established connections that others opened.
        connections_out_max: established connections that this node opened.
        connections_per_peer_max: connections of one peer id, both directions.
        connections_per_subnet_max: inbound connections of one IPv4 /24 or IPv6 /48; 127.0.0.1 and
            ::1 are exempt so that several nodes of one machine can meet, the rest of 127/8 counts.
        connections_pending_max: inbound connections whose handshake is not finished.
        dials_pending_max: outbound dials at once.
        streams_in_per_peer_max: open streams that one peer opened, all protocols together.
        dial_timeout_s: one address, TCP connect and both upgrades.
        upgrade_timeout_s: inbound security and multiplexer handshake.
        negotiate_timeout_s: protocol negotiation of one stream; whole seconds, a library limit.
        write_stall_timeout_s: longest wait for a peer that takes no bytes. Stock yamux resets a
            stream at 5 s, so a writer gives up earlier (design, network §1).
        window_bytes_max: receive window of a stream that the peer opened; together with the limit on
            streams it bounds the memory one peer can occupy.
        window_out_bytes_max: receive window of a stream that this node opened, on which it downloads.
            4 MiB carry 80 MB/s at 50 ms; on loopback 1 MiB costs a fifth of the throughput.
        probe_interval_s: how often a quiet connection is probed.
        probe_timeout_s: silence after which a probed connection is closed; TCP alone notices a
            stopped process or a pulled cable only after minutes.
        peers_remembered_max: entries of the peer store; peers fill it by identifying themselves, and
            the oldest unconnected ones are forgotten first.
        events_buffer: connection events kept for a slow subscriber; more are dropped and counted.
    """

    listen_addrs: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    connections_in_max: int = 256
    connections_out_max: int = 128
    connections_per_peer_max: int = 4
    connections_per_subnet_max: int = 8
    connections_pending_max: int = 128
    dials_pending_max: int = 32
    streams_in_per_peer_max: int = 32
    dial_timeout_s: float = 5.0
    upgrade_timeout_s: float = 5.0
    negotiate_timeout_s: int = 5
    write_stall_timeout_s: float = 3.0
    window_bytes_max: int = 1 * MIB
    window_out_bytes_max: int = 4 * MIB
    probe_interval_s: float = 15.0
    probe_timeout_s: float = 10.0
    peers_remembered_max: int = 4096
    events_buffer: int = 256


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """When a peer is banned and how fast old sins are forgotten.

    Attributes:
        points_ban: penalty points that ban; with ``points_malformed`` a peer is banned at its tenth
            malformed frame, which is inside the 20 of threat T2.
        points_malformed: one frame that breaks its protocol.
        points_failed: one broken promise: a timeout, a truncated reply.
        half_life_s: time after which penalty points count half.
        ban_s: length of a ban for malformed frames.
        ban_corrupt_s: length of a ban for bytes that do not hash to what was asked for.
        peers_max: peers remembered; the longest unseen unbanned one is forgotten first.
        ewma_weight: weight of the newest delivery in the smoothed rates.
    """

    points_ban: float = 50.0
    points_malformed: float = 5.0
    points_failed: float = 1.0
    half_life_s: float = 600.0
    ban_s: float = 3600.0
    ban_corrupt_s: float = 24 * 3600.0
    peers_max: int = 4096
    ewma_weight: float = 0.2


@dataclass(frozen=True, slots=True)
class ChunkConfig:
    """The chunk protocol, both sides.

    Attributes:
        session_idle_s: a client reuses a kept stream for this long; less than ``idle_timeout_s`` of
            the server, so that it does not meet a stream that is being closed.
        upload_bytes_per_s: cap over all peers; None for no cap.
        download_bytes_per_s: cap over all peers; None for no cap.
        burst_s: seconds of a cap that may pass at once.
        indices_per_request_max: segments that one request may name.
        requests_per_stream_max: requests a peer may have waiting on one stream.
        streams_per_peer_max: chunk streams one peer may open here.
        busy_after_s: under a cap, a want is answered BUSY when its first byte would wait longer.
        batch_bytes: how much the server reads from its store at once for one stream; the bound of
            what it holds in memory for that stream besides the send buffer.
        idle_timeout_s: a stream without any request is closed after this.
        frame_timeout_s: the rest of a header must follow its first byte within this, and no payload may
            pause longer; with ``negotiate_timeout_s`` at most 10 s, as threat T5 asks.
        in_flight_max: segments a client asks for ahead on one stream.
        reply_timeout_s: the next reply of a client's request must start within this.
    """

    upload_bytes_per_s: float | None = None
    download_bytes_per_s: float | None = None
    burst_s: float = 0.25
    indices_per_request_max: int = 64
    requests_per_stream_max: int = 16
    streams_per_peer_max: int = 4
    busy_after_s: float = 4.0
    batch_bytes: int = 1 * MIB
    idle_timeout_s: float = 120.0
    session_idle_s: float = 60.0
    frame_timeout_s: float = 5.0
    in_flight_max: int = 16
    reply_timeout_s: float = 10.0
