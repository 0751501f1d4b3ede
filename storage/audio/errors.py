"""What can be wrong with an audio file, each with one clear sentence for the artist.

::

    MarinaError
    ├── AudioError
    │   ├── NotAudioError           something else, or a kind of audio that is not taken
    │   ├── DamagedAudioError       cut short, broken, or the decoder crashed on it
    │   ├── AudioTooLargeError      more bytes, hours or memory than allowed
    │   └── AudioTimeoutError       the decoder did not finish in time
    └── SandboxUnavailableError     this machine cannot confine the decoder
"""

from __future__ import annotations

from marina.errors import DamagedError, MarinaError


class AudioError(MarinaError):
    """A file that cannot be published; the sentence says why and what to do."""

    code = "audio"
    http_status = 422


class NotAudioError(AudioError):
    """The file is not audio in one of the six formats."""

    code = "not_audio"


class DamagedAudioError(AudioError, DamagedError):
    """The file is audio but part of it is missing or broken."""

    exit_code = 8
    code = "audio_damaged"
    http_status = 422


class AudioTooLargeError(AudioError):
    """The file, its duration or the memory it needs is above the limit."""

    code = "audio_too_large"
    http_status = 413


class AudioTimeoutError(AudioError):
    """The decoder used up its processor time or its deadline on this file."""

    code = "audio_timeout"


class SandboxUnavailableError(MarinaError):
    """The decoder process cannot be started or confined on this machine; no file was opened."""

    code = "sandbox_unavailable"
    http_status = 503
