"""The published identity vectors hold, for our code and for independent implementations."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from mnemonic import Mnemonic

from marina.clock import ManualClock
from marina.ids import Account, account_text
from marina.secret import Secret
from storage.backup_frames import FileEntry, FrameReader, PairEntry
from storage.backup_stream import SealedReader
from storage.identity.binding import FIELDS, decode_binding, verify_binding
from storage.identity.derive import backup_private_key, derive_keys
from storage.identity.device import DeviceKey
from storage.identity.owner import Owner
from storage.identity.typed_data import account_of_key, typed_digest
from storage.identity.vault import Vault
from storage.identity.words import parse_words, words_entropy, words_seed

VECTORS = json.loads(Path(__file__).with_name("identity.json").read_text())
BINDING = VECTORS["binding"]
ZERO_WORDS = "abandon " * 11 + "about"


@pytest.mark.parametrize("vector", VECTORS["derived"], ids=lambda vector: vector["account"])
def test_words_give_the_published_keys(vector):
    words = parse_words(vector["words"])
    assert words_entropy(words).reveal().hex() == vector["entropy"]
    seed = words_seed(words)
    assert seed.reveal().hex() == vector["seed"]
    keys = derive_keys(seed)
    assert keys.account_key.reveal().hex() == vector["account_key"]
    assert account_text(account_of_key(keys.account_key.reveal())) == vector["account"]
    assert keys.content_root.reveal().hex() == vector["content_root"]
    assert keys.backup_key.reveal().hex() == vector["backup_key"]
    recipient = backup_private_key(keys.backup_key).public_key().public_bytes_raw()
    assert recipient.hex() == vector["backup_recipient"]


@pytest.mark.parametrize("vector", VECTORS["derived"], ids=lambda vector: vector["account"])
def test_an_ethereum_wallet_finds_the_same_account_under_the_words(vector):
    EthAccount.enable_unaudited_hdwallet_features()
    wallet = EthAccount.from_mnemonic(vector["words"], account_path="m/44'/60'/0'/0/0")
    assert wallet.address == vector["account"]
    assert bytes(wallet.key).hex() == vector["account_key"]


def test_the_standard_words_give_the_standard_address():
    keys = derive_keys(Secret(Mnemonic.to_seed(ZERO_WORDS)))
    account = account_text(account_of_key(keys.account_key.reveal()))
    assert account == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"


def test_the_slip_10_library_passes_test_vector_1_of_its_standard():
    from slip10 import SLIP10

    seed = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    found = {
        path: SLIP10.from_seed(seed, curve_name="ed25519").get_privkey_from_path(path).hex()
        for path in ("m", "m/0'", "m/0'/1'/2'/2'/1000000000'")
    }
    assert found == {
        "m": "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
        "m/0'": "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
        "m/0'/1'/2'/2'/1000000000'": "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
    }


def test_the_published_binding_is_valid_and_signed_as_published():
    binding = decode_binding(bytes.fromhex(BINDING["record"]))
    assert binding.digest.hex() == BINDING["digest"]
    assert binding.signature.hex() == BINDING["signature"]
    assert binding.counter_signature.hex() == BINDING["counter_signature"]
    device = DeviceKey(Secret(bytes.fromhex(BINDING["device_seed"])))
    assert device.public_key.hex() == BINDING["peer"]
    assert device.sign(binding.digest) == binding.counter_signature
    account = verify_binding(binding, now_s=BINDING["not_before"], peer=device.public_key, epoch_min=3)
    assert account.hex() == BINDING["owner"]


def test_an_ethereum_wallet_signs_the_published_binding_alike():
    message = {
        "owner": bytes.fromhex(BINDING["owner"]),
        "peerKey": bytes.fromhex(BINDING["peer"]),
        "scopes": BINDING["scopes"],
        "notBefore": BINDING["not_before"],
        "notAfter": BINDING["not_after"],
        "epoch": BINDING["epoch"],
        "nonce": bytes.fromhex(BINDING["nonce"]),
    }
    types = {"DeviceBinding": [{"name": name, "type": kind} for name, kind in FIELDS]}
    signable = encode_typed_data({"name": "marina", "version": "1"}, types, message)
    signed = EthAccount.sign_message(signable, bytes.fromhex(BINDING["account_key"]))
    assert bytes(signed.message_hash).hex() == BINDING["digest"]
    assert bytes(signed.signature).hex() == BINDING["signature"]


def test_the_published_digest_over_every_kind_of_field_holds():
    typed = VECTORS["typed"]
    fields = tuple((name, kind) for name, kind in typed["fields"])
    binary = {name for name, kind in fields if kind.startswith(("bytes", "address"))}
    message = {
        name: bytes.fromhex(value) if name in binary else value for name, value in typed["message"].items()
    }
    assert typed_digest(typed["type"], fields, message).hex() == typed["digest"]


def test_a_vault_of_the_first_version_opens(tmp_path):
    path = tmp_path / "vault.json"
    path.write_text(VECTORS["frozen"]["vault_json"])
    path.chmod(0o600)
    Vault.open(path).unlock(Secret(VECTORS["frozen"]["passphrase"]))
    owner = Owner.open(tmp_path, clock=ManualClock())
    assert account_text(owner.account) == VECTORS["derived"][0]["account"]
    owner.unlock(Secret(VECTORS["frozen"]["passphrase"]))
    assert owner.content_root().reveal().hex() == VECTORS["derived"][0]["content_root"]
    owner.reset_passphrase(parse_words(VECTORS["derived"][0]["words"]), Secret("another passphrase"))


def test_a_backup_of_the_first_version_opens():
    derived = VECTORS["derived"][0]
    stream = SealedReader(
        io.BytesIO(bytes.fromhex(VECTORS["frozen"]["backup"])),
        account=Account(bytes.fromhex(derived["account"][2:])),
        key=backup_private_key(Secret(bytes.fromhex(derived["backup_key"]))),
    )
    entries = list(FrameReader(stream).entries())
    assert entries == [
        FileEntry("config.toml", b"quota = 1\n"),
        PairEntry(b"lib/track\x00a", b"first"),
        PairEntry(b"lib/track\x00b", b""),
    ]
