"""Containers are told by their magic bytes, and everything else is named for what it is."""

from __future__ import annotations

import pytest

from storage.audio.errors import NotAudioError
from storage.audio.sniff import FLAC, M4A, MP3, OGG_OPUS, OGG_VORBIS, WAV, id3_length, is_mp3_frame, sniff

MP3_FRAME = bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)  # 128 kbit/s at 44.1 kHz: 417 bytes
OGG = b"OggS" + bytes(22) + b"\x01\x1e"
ID3 = b"ID3\x04\x00\x00\x00\x00\x01\x00"  # 128 bytes of body


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"fLaC" + bytes(38), FLAC),
        (MP3_FRAME + MP3_FRAME, MP3),
        (MP3_FRAME + b"TAG", MP3),
        (OGG + b"\x01vorbis", OGG_VORBIS),
        (OGG + b"OpusHead\x01", OGG_OPUS),
        (b"\x00\x00\x00\x1cftypM4A ", M4A),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", WAV),
    ],
)
def test_the_six_containers_are_known_by_their_first_bytes(head, container):
    assert sniff(head) == container


def test_what_follows_an_id3_tag_decides():
    assert id3_length(ID3) == 138
    assert sniff(ID3, after_id3=MP3_FRAME + MP3_FRAME) == MP3
    assert sniff(ID3, after_id3=bytes(100) + MP3_FRAME) == MP3  # padding that the tag forgot to count
    assert sniff(ID3, after_id3=b"fLaC") == FLAC
    with pytest.raises(NotAudioError, match="no MP3 or FLAC sound"):
        sniff(ID3, after_id3=b"hello")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"FORM\x00\x00\x00\x00AIFF", "an AIFF file"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "an AVI video"),
        (b"Dear diary, this is no song.\n", "plain text"),
        ("Grüße aus Köln".encode()[:4], "plain text"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (bytes(4096), "nothing but zeros"),
        (b"\xfe\xed\xfa\xce\x80\x81", "of an unknown kind"),
        (b"a\x01b\x02", "of an unknown kind"),
        (OGG + b"\x80theora", "Ogg with Theora video"),
        (OGG + b"\x7fFLAC", "Ogg with FLAC"),
        (b"OggS", "Ogg with an unknown codec"),
        (b"\xff\xf1\x50\x80" + bytes(400), "of an unknown kind"),  # ADTS: its layer bits are 0
    ],
)
def test_a_file_of_another_kind_is_named(head, words):
    with pytest.raises(NotAudioError, match=words):
        sniff(head)


def test_a_lone_frame_header_in_noise_is_no_mp3():
    assert not is_mp3_frame(MP3_FRAME + b"\x12\x34\x56\x78")
    assert not is_mp3_frame(b"\xff\xfb\xf0\x00")  # bitrate 15 does not exist
