"""Every setting of a node: one frozen tree of small dataclasses, plain values with their units.

``settings_load.py`` fills it from the profile, the file, the environment and the flags. Each field says
its unit and where its default comes from; ``docs/settings.md`` has the same list for people. People
write a key without the unit's suffix: ``storage.quota = "20GB"`` is ``storage.quota_bytes`` here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

GB = 10**9
API_PORT = 7787
"""Preferred port of the local API: not in the IANA list, free of common software."""
GATEWAY_PORT = 7788

Profile = Literal["development", "staging", "production"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
ChainName = Literal["none", "dev", "ethereum", "polygon", "polygon-amoy"]
Backend = Literal["embedded", "kubo"]
Quality = Literal["auto", "low", "high", "original"]
Kind = Literal["size", "rate", "span", "port"]


def _quantity(kind: Kind, default: Any) -> Any:
    """Return a field that people write with a unit (see ``node/units.py``)."""
    return field(default=default, metadata={"kind": kind})


def _whole(default: int, low: int, high: int) -> Any:
    """Return a whole-number field with both its bounds."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The local HTTP interface (design, security §4).

    Attributes:
        host: address to bind; ``loopback`` is 127.0.0.1 and ::1. Others need ``allow_remote`` and TLS.
        port: None means 7787, or any free port while that is taken; a number must be free.
        allow_remote: permit an address other machines can reach. Off: nobody should by accident.
        tls_certificate: PEM file of the certificate chain; needed for a remote address.
        tls_key: PEM file of its private key.
        hosts: further exact ``Host`` values (``name:port``) that a remote address is known by.
        origins: further exact web origins that may call the API; none by default.
    """

    host: str = "loopback"
    port: int | None = _quantity("port", None)
    allow_remote: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Disk use and backups.

    Attributes:
        quota_bytes: hard limit of everything the node stores. 20 GB is about 500 albums at 160 kbit/s
            and fits a phone-sized disk; a guess, to be corrected by what users have.
        backups_kept: daily encrypted backups kept (design, issue A: seven).
        backend: where blocks are kept: on this node's disk, or in the Kubo node of ``ipfs.kubo``.
    """

    quota_bytes: int = _quantity("size", 20 * GB)
    backups_kept: int = _whole(7, 1, 365)
    backend: Backend = "embedded"


@dataclass(frozen=True, slots=True)
class IpfsSettings:
    """The Kubo node that this node is paired with (``marina ipfs pair`` writes these).

    Attributes:
        kubo: address of its RPC; empty for none. On this machine http, elsewhere only https.
        token_file: whole path of a file with what goes into the Authorization header, readable by the owner
            alone; empty for an RPC that asks for nothing.
    """

    kubo: str = ""
    token_file: str = ""


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """Meeting other nodes.

    Attributes:
        listen: TCP multiaddrs to listen on; port 0 lets the system choose.
        bootstrap: multiaddrs ending in /p2p/PEER that are dialled at start; no address is built in.
        lan_discovery: find and be found by mDNS in the local network.
        upload_cap_bytes_per_s: cap over all peers; None for no cap.
        download_cap_bytes_per_s: cap over all peers; None for no cap.
        answer_searches: answer search queries of connected peers from the public catalogue.
    """

    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    bootstrap: tuple[str, ...] = ()
    lan_discovery: bool = True
    upload_cap_bytes_per_s: float | None = _quantity("rate", None)
    download_cap_bytes_per_s: float | None = _quantity("rate", None)
    answer_searches: bool = True


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What this node does for the music of others.

    Attributes:
        accept_pledges: promise space to artists who ask for replicas. Off: space is given knowingly.
        offered_bytes: space offered to all pledges together; at most half of the quota unless it is set.
        pledge_length_s: how long one pledge holds before it must be renewed. A month, a guess.
        accept_from: accounts (0x…) whose releases are accepted; empty accepts everyone.
        denylist: file of CIDs, release and track ids and accounts, one a line, never served or pledged.
        follow_dao_list: neither serve nor pledge what the moderation list names that the DAO adopted. Off: a
            majority advises, the operator decides.
    """

    accept_pledges: bool = False
    offered_bytes: int = _quantity("size", 10 * GB)
    pledge_length_s: int = _quantity("span", 30 * 86_400)
    accept_from: tuple[str, ...] = ()
    denylist: str = ""
    follow_dao_list: bool = False


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What others may learn about the owner: nothing, until the owner says so (design, features Y4).

    Attributes:
        share_listens: publish what was played.
        share_likes: publish signed likes.
        share_presence: tell followers that the owner is online.
        share_library: publish the list of what is in the library.
    """

    share_listens: bool = False
    share_likes: bool = False
    share_presence: bool = False
    share_library: bool = False


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The trustless HTTP gateway: this node's blocks for programs that check their hashes.

    Attributes:
        enabled: serve it. Off: whoever asks learns what is on this disk.
        host: address to bind; ``loopback`` is 127.0.0.1 and ::1. Another one is for everybody who reaches it.
        port: None means 7788, or any free port while that is taken.
        requests_per_s: of one network on average; ten times as many at once.
        rate_bytes_per_s: to one network; None for no bound but ``swarm.upload_cap``.
    """

    enabled: bool = False
    host: str = "loopback"
    port: int | None = _quantity("port", None)
    requests_per_s: int = _whole(500, 1, 1_000_000)
    rate_bytes_per_s: float | None = _quantity("rate", None)


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The EVM chain where licences, money and votes are settled. Free music needs none.

    Attributes:
        profile: which chain; its id, confirmations and minimum tip are pinned. Off until the owner chooses.
        endpoints: JSON-RPC addresses, in order of preference; off this machine only https. For ``dev`` the
            default is the chain that ``marina chain dev`` runs on this machine.
        contracts: file with the addresses of Marina's contracts, as ``marina chain deploy`` writes it;
            empty is ``chain/contracts-ID.json`` of the home, and for ``dev`` the ones it begins with.
    """

    profile: ChainName = "none"
    endpoints: tuple[str, ...] = ()
    contracts: str = ""


@dataclass(frozen=True, slots=True)
class SpendSettings:
    """What may be spent, network fees apart (design, features M6).

    Attributes:
        item: at most this for one thing, an amount for each coin or token: ``0.01ETH``, ``5USDC``. What is
            not named here cannot be spent.
        day: at most this in 24 hours, in the same form.
    """

    item: tuple[str, ...] = ("0.01ETH", "20POL", "20DEV", "500MMT")
    day: tuple[str, ...] = ("0.03ETH", "60POL", "60DEV", "1500MMT")


@dataclass(frozen=True, slots=True)
class PlaybackSettings:
    """Playing music.

    Attributes:
        quality: tier that is asked for when a player does not say.
        prefetch_next: fetch the head of the next track in the queue ahead of time.
    """

    quality: Quality = "auto"
    prefetch_next: bool = True


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Structured logs.

    Attributes:
        level: lowest level written.
        kept_files: rotated files kept beside the current one.
        file_size_bytes: size at which a log file is rotated.
    """

    level: LogLevel = "INFO"
    kept_files: int = _whole(3, 0, 100)
    file_size_bytes: int = _quantity("size", 10 * 10**6)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one node.

    Attributes:
        profile: the set of defaults that everything else overrides.
    """

    profile: Profile = "production"
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    swarm: SwarmSettings = SwarmSettings()
    operator: OperatorSettings = OperatorSettings()
    privacy: PrivacySettings = PrivacySettings()
    ipfs: IpfsSettings = IpfsSettings()
    gateway: GatewaySettings = GatewaySettings()
    chain: ChainSettings = ChainSettings()
    spend: SpendSettings = SpendSettings()
    playback: PlaybackSettings = PlaybackSettings()
    log: LogSettings = LogSettings()


PROFILES: dict[str, dict[str, object]] = {
    # One machine, several nodes, nothing leaves it.
    "development": {
        "log.level": "DEBUG",
        "swarm.listen": ["/ip4/127.0.0.1/tcp/0"],
        "swarm.lan_discovery": False,
        "storage.quota": "2GB",
    },
    # A real swarm that is being tried out: more to read in the log, less to lose on the disk.
    "staging": {"log.level": "DEBUG", "storage.quota": "5GB"},
    "production": {},
}
