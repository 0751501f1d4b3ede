"""Errors of the identity: its words, passphrase and bindings.

::

    MarinaError
    ├── UsageError
    │   └── WordsError, WeakPassphraseError
    ├── MalformedError
    │   └── KeystoreError
    └── NotPermittedError
        ├── PassphraseMissingError
        └── BindingError
"""

from __future__ import annotations

from marina.errors import MalformedError, NotPermittedError, UsageError


class WordsError(UsageError):
    """The recovery words are not 24 words of the list with a right checksum."""

    code = "words"


class WeakPassphraseError(UsageError):
    """A new passphrase is too short or too long."""

    code = "weak_passphrase"


class KeystoreError(MalformedError):
    """A wallet file of another tool is damaged, of another kind, or asks for absurd work."""

    code = "keystore"


class PassphraseMissingError(NotPermittedError):
    """No source gave a passphrase."""

    code = "passphrase_missing"


class BindingError(NotPermittedError):
    """A device may not act for the account: expired, revoked, without the scope, or badly signed."""

    code = "binding_refused"
