"""Which of the six containers a file is, from its first bytes only; libav never guesses.

Pure and total: any bytes give a container or NotAudioError with what the file is instead.
"""

from __future__ import annotations

from storage.audio.errors import NotAudioError

FLAC, MP3, OGG_VORBIS, OGG_OPUS, M4A, WAV = "flac", "mp3", "ogg_vorbis", "ogg_opus", "m4a", "wav"
CONTAINERS = (FLAC, MP3, OGG_VORBIS, OGG_OPUS, M4A, WAV)
SNIFF_BYTES = 8192
SUPPORTED = "FLAC, MP3, Ogg Vorbis, Opus, M4A/AAC and WAV"

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"MThd", "a MIDI file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file"),
    (0, b"RF64", "an RF64 file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b".snd", "a Sun audio file"),
    (0, b"ADIF", "raw AAC"),
    (8, b"WEBP", "a WebP picture"),
    (8, b"AVI ", "an AVI video"),
)
_BITRATES_KBPS = {
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def id3_length(head: bytes) -> int:
    """Return the bytes of an ID3v2 tag at the start, 0 if there is none."""
    if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
        return 0
    body = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + body + (10 if head[5] & 0x10 else 0)


def sniff(head: bytes, *, after_id3: bytes | None = None) -> str:
    """Return the container.

    Args:
        head: the first ``SNIFF_BYTES`` of the file, or all of it.
        after_id3: as many bytes behind the ID3 tag when ``id3_length(head)`` is not 0.

    Raises:
        NotAudioError: the file is something else; the sentence names it.
    """
    if not head:
        raise NotAudioError("The file is empty: export the track again.")
    if id3_length(head):
        body = (after_id3 or b"").lstrip(b"\0")
        if body[:4] == b"fLaC":
            return FLAC
        if is_mp3_frame(body):
            return MP3
        raise NotAudioError(f"The file has tags but no MP3 or FLAC sound behind them; use {SUPPORTED}.")
    if head[:4] == b"fLaC":
        return FLAC
    if head[:4] == b"OggS":
        return _sniff_ogg(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return WAV
    if head[4:8] == b"ftyp":
        return M4A
    if is_mp3_frame(head):
        return MP3
    raise NotAudioError(f"The file is {_what_it_is(head)}, not audio that can be published; use {SUPPORTED}.")


def is_mp3_frame(data: bytes) -> bool:
    """Return whether an MPEG layer III frame starts here and, if seen, another one follows it."""
    length = _mp3_frame_length(data)
    if not length:
        return False
    following = data[length : length + 4]
    return len(following) < 4 or _mp3_frame_length(following) > 0 or following[:3] == b"TAG"


def _mp3_frame_length(data: bytes) -> int:
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return 0
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate_index, rate_index, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if layer != 1 or version == 1 or rate_index == 3 or bitrate_index in (0, 15):
        return 0
    kbps = _BITRATES_KBPS[(3 if version == 3 else 2, 1)][bitrate_index]
    rate_hz = _RATES_HZ[version][rate_index]
    return (144 if version == 3 else 72) * kbps * 1000 // rate_hz + padding


def _sniff_ogg(head: bytes) -> str:
    segments = head[26] if len(head) > 26 else 0
    packet = head[27 + segments :]
    if packet[:8] == b"OpusHead":
        return OGG_OPUS
    if packet[:7] == b"\x01vorbis":
        return OGG_VORBIS
    inside = {b"\x7fFLA": "FLAC", b"Spee": "Speex", b"\x80the": "Theora video"}.get(
        packet[:4], "an unknown codec"
    )
    raise NotAudioError(f"The file is Ogg with {inside}, not audio that can be published; use {SUPPORTED}.")


def _what_it_is(head: bytes) -> str:
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if not head.strip(b"\0"):
        return "nothing but zeros"
    sample = head[:512]
    try:
        text = sample.decode()
    except UnicodeDecodeError as err:
        if err.start < len(sample) - 3:  # a character cut at the end of the sample is no sign against text
            return "of an unknown kind"
        text = sample[: err.start].decode()
    if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text):
        return "of an unknown kind"
    return "a web page" if "<html" in text.lower() or "<!doctype" in text.lower() else "plain text"
