"""Raw tags and the embedded cover, read with tinytag and cut to what a frame holds."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import tinytag

from storage.audio.decoder.source import PreadFile
from storage.audio.records import RAW_FIELDS_MAX, RAW_GENRE_BYTES_MAX, RAW_TEXT_BYTES_MAX, RawTags

_PLAIN = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "albumartist": "album_artist",
    "track": "track_no",
    "disc": "disc_no",
    "year": "year",
}
_OTHER = {
    "isrc": "isrc",
    "license": "licence",
    "licence": "licence",
    "copyright": "copyright",
    "lyrics": "lyrics",
    "musicbrainz_trackid": "mbid",
    "musicbrainz track id": "mbid",
    "musicbrainz_recordingid": "mbid",
    "musicbrainz release track id": "",
}
_FIELD_BYTES_MAX = {"genre": RAW_GENRE_BYTES_MAX, "lyrics": 16}
_GENRES_MAX = 16
ENCODINGS = ("latin-1", "iso-8859-1", "latin1", "utf-8", "utf-16", "utf-16le", "utf-16be", "ascii")


def load_encodings() -> None:
    """Import every text encoding that tag readers use, while files can still be opened."""
    for name in ENCODINGS:
        codecs.lookup(name)


def read_tags(file: PreadFile) -> RawTags:
    """Return the known tags in the file's own words; empty if they cannot be parsed."""
    tag = _parse(file, image=False)
    fields = [] if tag is None else list(_fields(tag))
    return RawTags(tuple(fields[:RAW_FIELDS_MAX]))


def read_picture(file: PreadFile) -> bytes | None:
    """Return the bytes of the front cover, else of any embedded picture."""
    tag = _parse(file, image=True)
    image = None if tag is None else tag.images.front_cover or tag.images.any
    return None if image is None else bytes(image.data)


def _parse(file: PreadFile, *, image: bool) -> Any:
    file.seek(0)
    try:
        return tinytag.TinyTag.get(file_obj=file, tags=True, duration=False, image=image)
    except tinytag.TinyTagException:
        return None  # tinytag wraps all its failures; sound without readable tags is still sound


def _fields(tag: Any) -> Iterator[tuple[str, str, int]]:
    for attribute, name in _PLAIN.items():
        value = getattr(tag, attribute)
        if value is not None:
            yield _cut(name, str(value))
    genres = [tag.genre or "", *tag.other.get("genre", ())]
    words = [word for genre in genres for word in genre.replace("\0", ";").split(";") if word.strip()]
    for word in words[:_GENRES_MAX]:
        yield _cut("genre", word)
    for key, name in _OTHER.items():
        values = tag.other.get(key)
        if name and values:
            yield _cut(name, str(values[0]))


def _cut(name: str, text: str) -> tuple[str, str, int]:
    data = text.encode("utf-8", "replace")
    limit = _FIELD_BYTES_MAX.get(name, RAW_TEXT_BYTES_MAX)
    return name, data[:limit].decode("utf-8", "ignore"), min(len(data), 2**32 - 1)
