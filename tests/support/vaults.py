"""Master keys as an open vault keeps them."""

from __future__ import annotations

import os

from marina.secret import Secret


class OpenVault:
    """A vault that is open and rotates at once."""

    def __init__(self) -> None:
        self.key = Secret(os.urandom(32))

    def master_key(self) -> Secret[bytes]:
        return self.key

    def previous_master_key(self) -> Secret[bytes] | None:
        return None

    def rotate_master(self) -> Secret[bytes]:
        self.key = Secret(os.urandom(32))
        return self.key

    def finish_rotation(self) -> None:
        return None
