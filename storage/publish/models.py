"""What publishing is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from marina.cid import Cid
from marina.secret import Secret
from storage.content.release import AccountSigner, SignedRelease
from storage.content.track import ProviderHint, TrackManifest
from storage.publish.paid import PaidRequest
from storage.publish.source import Source
from storage.publish.tracks import Examined


class Publishing(Protocol):
    """The owner's secrets that publishing needs; both raise VaultLockedError while locked."""

    def account_signer(self) -> AccountSigner:
        """Return what signs releases."""
        ...

    def content_root(self) -> Secret[bytes]:
        """Return the root of all track keys."""
        ...


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What the artist asked for; None means: from the tags; ``paid`` is None for free music."""

    path: Path
    title: str | None = None
    artist: str | None = None
    terms: str = "CC-BY-4.0"
    tags: tuple[str, ...] = ()
    hints: tuple[ProviderHint, ...] = ()
    paid: PaidRequest | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What makes another release of the same files."""
        texts = (self.title or "", self.artist or "", self.terms, *self.tags)
        if self.paid is None:
            return texts
        return (*texts, f"paid:{self.paid.chain_id}:{self.paid.registry.hex()}")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Mended:
    """What was missing of a release, and what of it is here again.

    Attributes:
        segments: segments that were made again from the originals.
        blocks: manifests, keyboxes and pictures that were written again.
        missing: segments and blocks that the originals given do not yield.
    """

    segments: int = 0
    blocks: int = 0
    missing: int = 0

    def __add__(self, other: Mended) -> Mended:
        return Mended(
            self.segments + other.segments, self.blocks + other.blocks, self.missing + other.missing
        )


@dataclass(frozen=True, slots=True)
class Published:
    """A signed and stored release with its tracks in order.

    Attributes:
        is_unchanged: it was published before; nothing was signed anew.
        retired: renditions of the version before that this one does not hold; this node need not keep them.
        mended: what was missing here of an unchanged release and was made again from the originals.
    """

    signed: SignedRelease
    tracks: tuple[tuple[Cid, TrackManifest], ...]
    skipped: tuple[Skipped, ...] = ()
    is_unchanged: bool = False
    retired: tuple[Cid, ...] = ()
    mended: Mended = Mended()

    @property
    def stored_bytes(self) -> int:
        """Ciphertext of all renditions."""
        return sum(each.layout.plan.ciphertext_bytes for _, track in self.tracks for each in track.renditions)


@dataclass(frozen=True, slots=True)
class Preview:
    """What publishing would do."""

    title: str
    artist: str
    tracks: tuple[tuple[Source, Examined], ...]
    skipped: tuple[Skipped, ...]

    @property
    def source_bytes(self) -> int:
        """Size of the files."""
        return sum(source.size_bytes for source, _ in self.tracks)


Report = Callable[[int, int, str], Awaitable[None]]
"""Takes (files done, files in all, name of the file under way)."""
