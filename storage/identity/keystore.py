"""Keys from and for other wallets: Ethereum keystores (Web3 Secret Storage, version 3) and bare keys.

A file of another tool is checked before any work is done for it: its key derivation says itself how
much memory and time it wants, and a forged one would want all of it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from marina.errors import UsageError
from marina.ids import Account, account_text
from marina.jsontext import load_json
from marina.secret import Secret
from storage.errors import WrongPassphraseError
from storage.identity.errors import KeystoreError
from storage.identity.passphrase import check_new_passphrase, passphrase_bytes
from storage.identity.typed_data import account_of_key

SCRYPT_N = 262_144
"""Work factor that go-ethereum calls standard; about a second."""
FILE_BYTES_MAX = 64 * 1024
KEY_BYTES = 32
SCRYPT_MEMORY_BYTES_MAX = 512 << 20
"""128·n·r; the usual n = 262,144 and r = 8 take half of it."""
SCRYPT_WORK_MAX = 2**24
"""n·r·p; eight times what go-ethereum's standard takes."""
PBKDF2_ROUNDS_MAX = 10_000_000
_SALT_BYTES_MAX = 1024
_VERSION = 3
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)")
_BARE_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})", re.ASCII)


def export_keystore_v3(
    account_key: Secret[bytes], passphrase: Secret[str], *, scrypt_n: int = SCRYPT_N
) -> str:
    """Return keystore V3 JSON that geth, MetaMask and the like import.

    Blocks for about a second; call it in a worker thread.

    Args:
        account_key: 32-byte secp256k1 key.
        passphrase: protects the file from now on; need not be the vault's.
        scrypt_n: work factor, a power of two.

    Raises:
        WeakPassphraseError: the passphrase is too short.
    """
    from eth_account import Account as EthAccount  # 26 MB: only a process that exports pays for it

    check_new_passphrase(passphrase)
    keystore = EthAccount.encrypt(
        account_key.reveal(), passphrase_bytes(passphrase), kdf="scrypt", iterations=scrypt_n
    )
    return json.dumps(keystore, indent=2, sort_keys=True) + "\n"


def import_keystore_v3(data: bytes, passphrase: Secret[str]) -> Secret[bytes]:
    """Return the 32-byte key in a keystore file of geth, MetaMask, MyEtherWallet or this module.

    Blocks for about a second with the usual work factors, up to ten with the largest accepted; call it
    in a worker thread.

    Args:
        data: the whole file.
        passphrase: of the file, as it was typed in the other tool.

    Raises:
        KeystoreError: the file is damaged, of another kind, or wants too much memory or time.
        WrongPassphraseError: the passphrase does not open it.
    """
    keystore = _checked(data)
    key = Secret(_decrypt(keystore, passphrase))
    try:
        account = account_of_key(key.reveal())
    except ValueError:
        account = None
    if account is None:
        raise KeystoreError("the wallet file opens but holds no account's key: it is damaged")
    stated = keystore.get("address")
    if stated is not None and _account(stated) != account:
        raise KeystoreError(
            f"the wallet file says it is another account's than {account_text(account)}, whose key it holds: "
            "it was changed after it was made"
        )
    return key


def parse_private_key(text: str) -> Secret[bytes]:
    """Return the key in 64 hexadecimal digits, with or without ``0x``.

    Raises:
        UsageError: anything else. The message never repeats what was given.
    """
    match = _BARE_KEY.fullmatch(text.strip())
    key = bytes.fromhex(match[1]) if match else b""
    try:
        account_of_key(key)
    except ValueError:
        key = b""
    if not key:  # raised out here because the other error's frames hold the text
        raise UsageError("this is no private key: it has 64 hexadecimal digits, below the order of secp256k1")
    return Secret(key)


def _decrypt(keystore: dict[str, Any], passphrase: Secret[str]) -> bytes:
    """Return the plain key; MetaMask and geth take a passphrase as typed, ethers its NFKC form."""
    from eth_account import Account as EthAccount
    from eth_keyfile.exceptions import EthKeyfileValueError

    typed = passphrase.reveal()
    for form in dict.fromkeys((typed, unicodedata.normalize("NFKC", typed))):
        try:
            return bytes(EthAccount.decrypt(keystore, form.encode()))
        except EthKeyfileValueError:
            continue  # its code does not fit: the other spelling may
        except (ValueError, MemoryError) as err:
            raise KeystoreError("this machine has not enough memory free to open the wallet file") from err
    raise WrongPassphraseError(
        "the passphrase does not open the wallet file: it is the one that the other wallet asked for"
    )


def _checked(data: bytes) -> dict[str, Any]:
    """Return the file's fields, in lower case and each of the form that version 3 demands."""
    if len(data) > FILE_BYTES_MAX:
        raise KeystoreError(f"a wallet file has less than {FILE_BYTES_MAX >> 10} KiB, this one more")
    try:
        raw = load_json(data)
    except (ValueError, RecursionError) as err:
        raise KeystoreError("this is no wallet file: it is not JSON") from err
    keystore = _lower(raw, "the wallet file")
    version = keystore.get("version")
    if version != _VERSION or isinstance(version, bool):
        shown = version if isinstance(version, int) else "none"
        raise KeystoreError(f"Marina opens wallet files of version 3, this one has version {shown}")
    crypto = _lower(keystore.get("crypto"), "its part 'crypto'")
    if crypto.get("cipher") != "aes-128-ctr":
        raise KeystoreError("the wallet file has another cipher than aes-128-ctr: export it again as V3")
    parameters = _lower(crypto.get("cipherparams"), "its part 'cipherparams'")
    kdf = crypto.get("kdf")
    plain = {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": _hex(parameters.get("iv"), "iv", 16)},
        "ciphertext": _hex(crypto.get("ciphertext"), "ciphertext", KEY_BYTES),
        "mac": _hex(crypto.get("mac"), "mac", 32),
        "kdf": kdf,
        "kdfparams": _kdf_parameters(kdf, _lower(crypto.get("kdfparams"), "its part 'kdfparams'")),
    }
    return {"version": _VERSION, "address": keystore.get("address"), "crypto": plain}


def _kdf_parameters(kdf: object, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("dklen") != 32 or isinstance(given["dklen"], bool):
        raise KeystoreError("the wallet file derives a key of another length than 32: it is damaged")
    common = {"dklen": 32, "salt": _hex(given.get("salt"), "salt", None)}
    if kdf == "pbkdf2":
        if given.get("prf") != "hmac-sha256":
            raise KeystoreError("the wallet file has another pseudo-random function than hmac-sha256")
        rounds = _positive(given.get("c"), "c")
        if rounds > PBKDF2_ROUNDS_MAX:
            raise KeystoreError(
                f"the wallet file wants {rounds} rounds of key derivation, at most {PBKDF2_ROUNDS_MAX} are "
                "made: export it again from the other wallet"
            )
        return {**common, "prf": "hmac-sha256", "c": rounds}
    if kdf == "scrypt":
        n, r, p = (_positive(given.get(name), name) for name in "nrp")
        if n < 2 or n & (n - 1):
            raise KeystoreError("the wallet file's scrypt factor n is no power of two: it is damaged")
        if 128 * n * r > SCRYPT_MEMORY_BYTES_MAX or n * r * p > SCRYPT_WORK_MAX:
            raise KeystoreError(
                f"the wallet file wants {128 * n * r >> 20} MiB of memory and {n * r * p} steps of scrypt; "
                f"{SCRYPT_MEMORY_BYTES_MAX >> 20} MiB and {SCRYPT_WORK_MAX} are the most: export it again "
                "with a lower work factor"
            )
        return {**common, "n": n, "r": r, "p": p}
    raise KeystoreError("the wallet file's key derivation is neither scrypt nor pbkdf2")


def _lower(value: object, what: str) -> dict[str, Any]:
    """Return an object with its names in lower case: some wallets write ``Crypto``."""
    if not isinstance(value, dict):
        raise KeystoreError(f"this is no wallet file of version 3: {what} is not an object")
    return {name.lower(): item for name, item in value.items()}


def _hex(value: object, name: str, length: int | None) -> str:
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    if match is None or len(match[1]) > 2 * _SALT_BYTES_MAX:
        raise KeystoreError(f"the wallet file's {name} is not hexadecimal: it is damaged")
    if length is not None and len(match[1]) != 2 * length:
        raise KeystoreError(f"the wallet file's {name} has not {length} bytes: it is damaged")
    return match[1].lower()


def _positive(value: object, name: str) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise KeystoreError(f"the wallet file's {name} is no reasonable number: it is damaged")
    return value


def _account(value: object) -> Account | None:
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    return Account(bytes.fromhex(match[1])) if match else None
