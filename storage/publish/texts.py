"""Title and artist of a release, from what the artist said and what the files say."""

from __future__ import annotations

from collections import Counter

from storage.audio.tags import Tags
from storage.publish.models import PublishRequest

VARIOUS_ARTISTS = "Various Artists"


def names_of(request: PublishRequest, tags: list[Tags]) -> tuple[str, str]:
    """Return (title, artist) of a release; the artist is empty when nobody says who it is.

    Args:
        request: what the artist said comes first.
        tags: of its files.
    """
    is_single = request.path.is_file()
    named = (tags[0].title if tags else "") or request.path.stem if is_single else request.path.name
    title = request.title or _shared([each.album for each in tags]) or named or "Untitled"
    artists = [each.album_artist or each.artist for each in tags]
    artist = request.artist or _shared(artists) or (VARIOUS_ARTISTS if any(artists) else "")
    return title, artist


def _shared(texts: list[str]) -> str:
    """Return the text of more than half of the tracks: a few tracks do not speak for a compilation."""
    text, count = Counter(texts).most_common(1)[0] if texts else ("", 0)
    return text if 2 * count > len(texts) else ""
