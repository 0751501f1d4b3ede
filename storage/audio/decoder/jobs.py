"""The operations of the decoder process; imported before it is sealed, so that nothing loads later."""

from __future__ import annotations

from collections.abc import Callable

from marina.schema import encode_record
from storage.audio.decoder.analyse import analyse
from storage.audio.decoder.decode import decode_pcm
from storage.audio.decoder.encode import encode_opus
from storage.audio.decoder.escape import try_to_escape
from storage.audio.decoder.picture import PICTURE_BYTES_MAX, reencode_picture
from storage.audio.decoder.source import JobError, PreadFile, open_source
from storage.audio.decoder.tagging import read_picture, read_tags
from storage.audio.records import FAIL_UNSUPPORTED, Job

Write = Callable[[bytes], None]


def answer(job: Job, fd: int, write: Write) -> bytes:
    """Do a job and return the encoded record of its result; output goes to ``write``.

    Raises:
        JobError: for a reason that lies in the file.
    """
    file = PreadFile(fd, job.size_bytes)
    simple = _SIMPLE.get(job.operation)
    if simple is not None:
        return simple(file, write)
    with open_source(file, job) as source:
        if job.operation == "probe":
            return encode_record(source.info)
        if job.operation == "analyse":
            return encode_record(analyse(source))
        if job.operation == "decode":
            return encode_record(decode_pcm(source, write))
        if job.operation == "encode":
            encoded = encode_opus(
                source, write, bitrate_bps=job.bitrate_bps, start_ms=job.start_ms, length_ms=job.length_ms
            )
            return encode_record(encoded)
    raise JobError(FAIL_UNSUPPORTED, "there is no such operation")


def _tags(file: PreadFile, _write: Write) -> bytes:
    return encode_record(read_tags(file))


def _artwork(file: PreadFile, write: Write) -> bytes:
    picture = read_picture(file)
    write((picture and reencode_picture(picture)) or b"")
    return b""


def _picture(file: PreadFile, write: Write) -> bytes:
    write(reencode_picture(file.read(PICTURE_BYTES_MAX + 1)) or b"")
    return b""


def _escape(_file: PreadFile, _write: Write) -> bytes:
    return encode_record(try_to_escape())


_SIMPLE: dict[str, Callable[[PreadFile, Write], bytes]] = {
    "tags": _tags,
    "artwork": _artwork,
    "picture": _picture,
    "escape": _escape,
}
