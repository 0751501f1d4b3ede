"""Tags made safe: whatever a file says becomes short, printable, normalised text.

A hostile title must not move a cursor, reverse a line, fill a disk or name a path. Runs in the
daemon on what the decoder sent, so a captured decoder gains nothing by sending odd text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from storage.audio.records import RAW_GENRE_BYTES_MAX, RAW_TEXT_BYTES_MAX, RawTags

TEXT_BYTES_MAX = 1024
GENRE_BYTES_MAX = 256
GENRES_MAX = 16
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_INVISIBLE = {0x00AD, 0x200B, 0x2060, 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)}
_NOUNS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "album_artist": "album artist",
    "track_no": "track number",
    "disc_no": "disc number",
    "year": "year",
    "genre": "genre",
    "isrc": "ISRC",
    "mbid": "MusicBrainz id",
    "licence": "licence",
    "copyright": "copyright",
    "lyrics": "lyrics",
}
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_MBID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one file; empty text and 0 mean that it does not say.

    Attributes:
        isrc: twelve characters without hyphens, or empty.
        mbid: MusicBrainz recording id in lower case, or empty.
        licence: as the file states it; text or an address.
        warnings: one sentence for each tag that was cut or ignored.
    """

    title: str = ""
    artist: str = ""
    album: str = ""
    album_artist: str = ""
    track_no: int = 0
    disc_no: int = 0
    year: int = 0
    genres: tuple[str, ...] = ()
    isrc: str = ""
    mbid: str = ""
    licence: str = ""
    copyright: str = ""
    has_lyrics: bool = False
    warnings: tuple[str, ...] = ()


def sanitise(text: str, max_bytes: int = TEXT_BYTES_MAX) -> str:
    """Return one line of NFC text without control, direction and invisible characters.

    White space of any kind becomes single spaces; the result has at most ``max_bytes`` of UTF-8, cut
    between characters. Joiners stay, because scripts and emoji need them. Idempotent.
    """
    kept = "".join(_replace(char) for char in text)
    line = unicodedata.normalize("NFC", " ".join(kept.split()))
    data = line.encode()
    if len(data) <= max_bytes:
        return line
    return data[:max_bytes].decode(errors="ignore").rstrip()


def _replace(char: str) -> str:
    if char.isspace() or char == "\0":
        return " "
    code = ord(char)
    if code in _BIDI or code in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cs", "Cn"):
        return ""
    return char


def tags_from_raw(raw: RawTags) -> Tags:
    """Return the safe tags of what the decoder read; never raises."""
    texts: dict[str, list[str]] = {}
    warnings: list[str] = []
    for name, text, size_bytes in raw.fields:
        if name not in _NOUNS:
            continue
        limit = GENRE_BYTES_MAX if name == "genre" else TEXT_BYTES_MAX
        whole = sanitise(text, RAW_TEXT_BYTES_MAX)
        clean = sanitise(whole, limit)
        if clean:
            texts.setdefault(name, []).append(clean)
        if name == "lyrics":
            continue  # only whether there are any matters
        if size_bytes > (RAW_GENRE_BYTES_MAX if name == "genre" else RAW_TEXT_BYTES_MAX):
            kept_bytes = len(clean.encode())
            warnings.append(f"The {_NOUNS[name]} has {size_bytes} bytes and was cut to {kept_bytes}.")
        elif whole != clean:
            warnings.append(f"The {_NOUNS[name]} was cut to {len(clean.encode())} bytes.")
    first = {name: values[0] for name, values in texts.items()}
    return Tags(
        title=first.get("title", ""),
        artist=first.get("artist", ""),
        album=first.get("album", ""),
        album_artist=first.get("album_artist", ""),
        track_no=_number(first.get("track_no", ""), 9999),
        disc_no=_number(first.get("disc_no", ""), 999),
        year=_year(first.get("year", "")),
        genres=tuple(dict.fromkeys(texts.get("genre", ())))[:GENRES_MAX],
        isrc=_matched(_ISRC, re.sub(r"[-\s]", "", first.get("isrc", "")).upper(), "ISRC", warnings),
        mbid=_matched(_MBID, first.get("mbid", "").lower(), "MusicBrainz id", warnings),
        licence=first.get("licence", ""),
        copyright=first.get("copyright", ""),
        has_lyrics=bool(first.get("lyrics")),
        warnings=tuple(warnings),
    )


def _matched(pattern: re.Pattern[str], text: str, noun: str, warnings: list[str]) -> str:
    if not text or pattern.fullmatch(text):
        return text
    warnings.append(f"The {noun} in the file is not a valid one and was ignored.")
    return ""


def _number(text: str, high: int) -> int:
    found = re.match(r"[0-9]{1,6}", text)
    value = int(found.group()) if found else 0
    return value if value <= high else 0


def _year(text: str) -> int:
    found = re.search(r"(?<![0-9])[12][0-9]{3}(?![0-9])", text, re.ASCII)
    return int(found.group()) if found else 0
