"""Write identity.json: words, keys, binding, and a sealed vault and backup that must stay readable.

Inputs are fixed; changing an output is changing the protocol. The part "frozen" was made with random
salts and nonces: it is kept as it is and only made when it is missing.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

from marina.clock import ManualClock
from marina.ids import account_text
from marina.schema import encode_record
from marina.secret import Secret
from storage.backup_frames import FrameWriter
from storage.identity.binding import DEFAULT_SCOPES, issue_binding
from storage.identity.derive import backup_private_key, derive_keys
from storage.identity.device import DeviceKey
from storage.identity.owner import Owner
from storage.identity.typed_data import account_of_key, typed_digest
from storage.identity.vault_file import KdfCost
from storage.identity.words import parse_words, words_entropy, words_seed

PATH = Path(__file__).with_name("identity.json")
ENTROPIES = (bytes(32), b"\xff" * 32, bytes(range(32)))
ISSUED_S = 1_800_000_000
PASSPHRASE = Secret("correct horse battery staple")
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)


def derived_vector(entropy: bytes) -> dict[str, str]:
    """Return everything that one set of words gives."""
    from storage.identity.words import words_of_entropy

    words = words_of_entropy(Secret(entropy))
    assert words_entropy(parse_words(words.reveal())).reveal() == entropy
    seed = words_seed(words)
    keys = derive_keys(seed)
    return {
        "entropy": entropy.hex(),
        "words": words.reveal(),
        "seed": seed.reveal().hex(),
        "account_key": keys.account_key.reveal().hex(),
        "account": account_text(account_of_key(keys.account_key.reveal())),
        "content_root": keys.content_root.reveal().hex(),
        "backup_key": keys.backup_key.reveal().hex(),
        "backup_recipient": backup_private_key(keys.backup_key).public_key().public_bytes_raw().hex(),
    }


def binding_vector(derived: dict[str, str]) -> dict[str, object]:
    """Return one binding, field by field and as its record."""
    device = DeviceKey(Secret(bytes(range(32, 64))))
    binding = issue_binding(
        Secret(bytes.fromhex(derived["account_key"])),
        device,
        scopes=DEFAULT_SCOPES,
        epoch=3,
        now_s=ISSUED_S,
        nonce=bytes(range(16)),
    )
    return {
        "account_key": derived["account_key"],
        "device_seed": device.seed.reveal().hex(),
        "owner": binding.owner.hex(),
        "peer": binding.peer.hex(),
        "scopes": binding.scopes,
        "not_before": binding.not_before,
        "not_after": binding.not_after,
        "epoch": binding.epoch,
        "nonce": binding.nonce.hex(),
        "digest": binding.digest.hex(),
        "signature": binding.signature.hex(),
        "counter_signature": binding.counter_signature.hex(),
        "record": encode_record(binding).hex(),
    }


def typed_vector() -> dict[str, object]:
    """Return a digest over every kind of field."""
    fields = (
        ("who", "address"),
        ("yes", "bool"),
        ("count", "uint64"),
        ("salt", "bytes16"),
        ("data", "bytes"),
        ("text", "string"),
    )
    message = {
        "who": b"\x11" * 20,
        "yes": True,
        "count": 7,
        "salt": b"\x22" * 16,
        "data": b"\x01",
        "text": "ä",
    }
    shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in message.items()}
    digest = typed_digest("Everything", fields, message)
    return {"type": "Everything", "fields": fields, "message": shown, "digest": digest.hex()}


def frozen_vector(words: str) -> dict[str, str]:
    """Return a vault and a backup of the first words."""
    clock = ManualClock(ISSUED_S)
    with tempfile.TemporaryDirectory() as name:
        owner = Owner.create(Path(name), PASSPHRASE, clock=clock, words=parse_words(words), cost=CHEAP)
        vault = (Path(name) / "vault.json").read_text()
    file = io.BytesIO()
    writer = FrameWriter(file, owner=owner, binding=owner.binding, created_s=ISSUED_S)
    writer.add_file("config.toml", b"quota = 1\n")
    writer.add_pairs([(b"lib/track\x00a", b"first"), (b"lib/track\x00b", b"")])
    writer.finish()
    return {"passphrase": PASSPHRASE.reveal(), "vault_json": vault, "backup": file.getvalue().hex()}


def deterministic() -> dict[str, object]:
    """Return all vectors that follow from the inputs alone."""
    derived = [derived_vector(entropy) for entropy in ENTROPIES]
    return {"derived": derived, "binding": binding_vector(derived[0]), "typed": typed_vector()}


def main() -> None:
    """Write the file."""
    vectors = deterministic()
    known = json.loads(PATH.read_text()) if PATH.exists() else {}
    vectors["frozen"] = known.get("frozen") or frozen_vector(vectors["derived"][0]["words"])
    PATH.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
