"""Wallet files of other tools open; damaged and greedy ones are refused before any work is done."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.errors import MarinaError, UsageError
from marina.secret import Secret
from storage.errors import WrongPassphraseError
from storage.identity.errors import KeystoreError
from storage.identity.keystore import (
    FILE_BYTES_MAX,
    export_keystore_v3,
    import_keystore_v3,
    parse_private_key,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/keystores.json").read_text(encoding="utf-8"))
LIGHT = next(each for each in VECTORS if each["name"].startswith("go-ethereum"))
ROUNDS = VECTORS[0]


def changed(vector, path, value):
    """Return a vector's file with one field replaced, or removed where the value is Ellipsis."""
    file = copy.deepcopy(vector["file"])
    *parents, last = path.split(".")
    place = file
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(file).encode()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_files_of_other_wallets_open(vector):
    key = import_keystore_v3(json.dumps(vector["file"]).encode(), Secret(vector["passphrase"]))
    assert key.reveal().hex() == vector["key"]


def test_what_marina_exports_it_imports():
    key = Secret(b"\x42" * 32)
    text = export_keystore_v3(key, Secret("eight characters"), scrypt_n=1024)
    assert import_keystore_v3(text.encode(), Secret("eight characters")) == key


def test_a_wrong_passphrase_is_said_to_be_one():
    with pytest.raises(WrongPassphraseError, match="does not open the wallet file") as caught:
        import_keystore_v3(json.dumps(LIGHT["file"]).encode(), Secret("incorrect pony"))
    assert "pony" not in repr(caught.value)


@pytest.mark.parametrize(
    ("vector", "path", "value", "reason"),
    [
        (LIGHT, "version", 4, "version 4"),
        (LIGHT, "version", True, "version True"),
        (LIGHT, "version", ..., "version none"),
        (LIGHT, "crypto", ..., "'crypto' is not an object"),
        (LIGHT, "crypto", [], "'crypto' is not an object"),
        (LIGHT, "crypto.cipher", "aes-128-cbc", "another cipher"),
        (LIGHT, "crypto.cipherparams.iv", "00", "iv has not 16 bytes"),
        (LIGHT, "crypto.ciphertext", "zz" * 32, "not hexadecimal"),
        (LIGHT, "crypto.ciphertext", 5, "not hexadecimal"),
        (LIGHT, "crypto.ciphertext", "00" * 31, "has not 32 bytes"),
        (LIGHT, "crypto.mac", "00" * 5, "mac has not 32 bytes"),
        (LIGHT, "crypto.kdf", "argon2id", "neither scrypt nor pbkdf2"),
        (LIGHT, "crypto.kdf", ["scrypt"], "neither scrypt nor pbkdf2"),
        (LIGHT, "crypto.kdfparams", None, "'kdfparams' is not an object"),
        (LIGHT, "crypto.kdfparams.dklen", 64, "another length"),
        (LIGHT, "crypto.kdfparams.salt", "00" * 2000, "salt is not hexadecimal"),
        (LIGHT, "crypto.kdfparams.n", 2**30, "MiB of memory"),
        (LIGHT, "crypto.kdfparams.n", 4097, "no power of two"),
        (LIGHT, "crypto.kdfparams.n", 1, "no power of two"),
        (LIGHT, "crypto.kdfparams.n", 2**40, "no reasonable number"),
        (LIGHT, "crypto.kdfparams.n", -2, "no reasonable number"),
        (LIGHT, "crypto.kdfparams.n", 4096.0, "no reasonable number"),
        (LIGHT, "crypto.kdfparams.r", 2**20, "MiB of memory"),
        (LIGHT, "crypto.kdfparams.p", 2**20, "steps of scrypt"),
        (LIGHT, "crypto.kdfparams.p", 0, "no reasonable number"),
        (ROUNDS, "crypto.kdfparams.c", 2**30, "rounds of key derivation"),
        (ROUNDS, "crypto.kdfparams.c", "5", "no reasonable number"),
        (ROUNDS, "crypto.kdfparams.prf", "hmac-md5", "another pseudo-random function"),
    ],
)
def test_damaged_and_greedy_files_are_refused_at_once(vector, path, value, reason):
    started_s = time.monotonic()
    with pytest.raises(KeystoreError, match=reason) as caught:
        import_keystore_v3(changed(vector, path, value), Secret("testpassword"))
    assert time.monotonic() - started_s < 1
    assert "\n" not in str(caught.value)


def test_a_changed_address_is_noticed():
    data = changed(LIGHT, "address", "11" * 20)
    with pytest.raises(KeystoreError, match="another account's"):
        import_keystore_v3(data, Secret("pass"))


def test_a_file_that_holds_no_key_of_the_curve_is_damaged():
    """The cipher's stream is xored away, so that the file opens to zeros under a right code."""
    from Crypto.Cipher import AES
    from Crypto.Util import Counter
    from eth_hash.auto import keccak
    from eth_keyfile.keyfile import _derive_scrypt_key

    crypto = LIGHT["file"]["crypto"]
    derived = _derive_scrypt_key(crypto["kdfparams"], b"pass")
    counter = Counter.new(128, initial_value=int(crypto["cipherparams"]["iv"], 16))
    zeros = AES.new(derived[:16], AES.MODE_CTR, counter=counter).encrypt(bytes(32))
    file = copy.deepcopy(LIGHT["file"])
    file["crypto"]["ciphertext"] = zeros.hex()
    file["crypto"]["mac"] = keccak(derived[16:32] + zeros).hex()
    with pytest.raises(KeystoreError, match="holds no account's key"):
        import_keystore_v3(json.dumps(file).encode(), Secret("pass"))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b'"3"', b"[" * 60_000, b"{}"])
def test_what_is_no_wallet_file_is_refused(data):
    with pytest.raises(KeystoreError, match=r"no wallet file|version"):
        import_keystore_v3(data, Secret("pass"))


def test_an_endless_file_is_refused_unread():
    with pytest.raises(KeystoreError, match="64 KiB"):
        import_keystore_v3(b" " * (FILE_BYTES_MAX + 1), Secret("pass"))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_declared_error(data):
    with pytest.raises(MarinaError):
        import_keystore_v3(data, Secret("pass"))


def test_a_bare_key_is_read_in_each_of_its_spellings():
    for text in ("11" * 32, "0x" + "11" * 32, f"  0x{'11' * 32}\n", "aB" * 32):
        assert len(parse_private_key(text).reveal()) == 32


@pytest.mark.parametrize(
    "text", ["", "11" * 31, "11" * 33, "zz" * 32, "00" * 32, "ff" * 32, "0X" + "11" * 32, "١" * 64]
)
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match="no private key") as caught:
        parse_private_key(text)
    assert not text or text not in str(caught.value)
