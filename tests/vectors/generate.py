"""Write content.json: every step from key to signed release, so that another language can check itself.

Run by ``make vectors``. Inputs are fixed; changing an output is changing the protocol.
"""

from __future__ import annotations

import json
from pathlib import Path

from marina.cid import DAG_CBOR, cid_of, cid_text
from marina.ids import Account, derive_release_id, derive_track_id, release_text, track_text
from marina.secret import Secret
from storage.content.keybox import DelegateKey, GuardianShare, Keybox, public_keybox
from storage.content.keys import KeyName, derive_track_key, key_commitment, rendition_key, segment_key
from storage.content.layout import SegmentPlan
from storage.content.proof import proof_root
from storage.content.release import Release, sign_release
from storage.content.segments import CipherRun, SegmentSealer
from storage.content.track import ProviderHint, Rendition, TrackManifest, encode_track
from storage.content.unixfs import rendition_file
from storage.identity.typed_data import account_of_key, sign_digest

ACCOUNT_KEY = bytes.fromhex("1ab42cc412b618bdea3a599e3c9bae199ebf030895b039e9db1e30dafb12b727")
CONTENT_ROOT = Secret(bytes(range(32)))
TRACK_SALT, RELEASE_SALT, FILE_SALT = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
BOUNDARIES = (1, 65_519, 65_520, 65_521, 393_119, 393_120, 393_121, 655_248, 655_249, 10_000_000, 268_435_456)


class Signer:
    """The account of the vectors."""

    account = account_of_key(ACCOUNT_KEY)

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the deterministic signature."""
        return sign_digest(ACCOUNT_KEY, digest)


def plaintext(length: int) -> bytes:
    """Return bytes that are easy to make in any language: byte i is (7·i + i div 256) mod 256."""
    return bytes((7 * i + i // 256) % 256 for i in range(length))


def boundaries() -> list[dict[str, object]]:
    """Return the cut of each length: count, ciphertext sizes of the first and last eight segments."""
    rows: list[dict[str, object]] = []
    for length in BOUNDARIES:
        plan = SegmentPlan(length)
        sizes = [plan.ciphertext(i).length for i in range(plan.count)]
        rows.append({"bytes": length, "count": plan.count, "first": sizes[:8], "last": sizes[-8:]})
    return rows


def content() -> dict[str, object]:
    """Return all vectors as JSON values."""
    account = Account(Signer.account)
    track_id = derive_track_id(account, TRACK_SALT)
    name = KeyName(track_id, 2, 0)
    key = derive_track_key(CONTENT_ROOT, TRACK_SALT, name)
    kc = key_commitment(key, name)
    plain = plaintext(400_000)
    plan = SegmentPlan(len(plain))
    suites: list[dict[str, object]] = []
    layouts = []
    for suite in (1, 2):
        run = CipherRun(track_id, 2, 0, suite, FILE_SALT)
        sealer = SegmentSealer(run, key, plan.count)
        cut = [plain[plan.plaintext(i).start : plan.plaintext(i).end] for i in range(plan.count)]
        sealed = [sealer.seal(i, part) for i, part in enumerate(cut)]
        digests = b"".join(cid_of(part)[4:] for part in sealed)
        layout, tree = rendition_file(len(plain), digests)
        layouts.append((run, layout))
        key_rend = rendition_key(key, name, suite, FILE_SALT).reveal()
        suites.append(
            {
                "suite": suite,
                "rendition_key": key_rend.hex(),
                "segment_key_0": segment_key(key_rend, 0).hex(),
                "nonce_0": run.nonce(0, is_last=False).hex(),
                "nonce_last": run.nonce(plan.count - 1, is_last=True).hex(),
                "aad_0": run.aad(0, is_last=False).hex(),
                "aad_last": run.aad(plan.count - 1, is_last=True).hex(),
                "segment_0_first_32": sealed[0][:32].hex(),
                "segment_0_tag": sealed[0][-16:].hex(),
                "segment_cids": [cid_text(layout.cid(i)) for i in range(plan.count)],
                "root": cid_text(layout.root),
                "root_block": tree.nodes[-1][1].hex(),
                "proof_root": proof_root(digests).hex(),
            }
        )
    free = public_keybox(name, key, kc)
    shares = tuple(
        GuardianShare(x, bytes([x]) * 32, bytes([0x40 + x]) * 32, b"envelope%d" % x) for x in (1, 2, 3)
    )
    paid = Keybox(
        31337, b"\x05" * 20, track_id, 1, 1, 1, 2, 3, kc, 0, shares, (DelegateKey(b"\x06" * 32, b"whole"),)
    )
    run, layout = layouts[0]
    rendition = Rendition(layout, run, "opus", "audio/ogg", 160_000, 48_000, 2, 20_000, kc, free.cid)
    track = TrackManifest(
        account=account,
        salt=TRACK_SALT,
        release_id=derive_release_id(account, RELEASE_SALT),
        title="Nachtfahrt · 夜",
        artist="Ada Morel",
        album="Tidal",
        album_artist="Ada Morel",
        track_no=1,
        disc_no=1,
        year=2026,
        genres=("techno",),
        tags=("night",),
        isrc="",
        duration_ms=20_000,
        loudness_mlufs=-11_200,
        waveform=bytes(range(0, 256, 16)),
        artwork=None,
        renditions=(rendition,),
        terms="CC-BY-4.0",
        version=1,
        hints=(ProviderHint("12D3KooWExample", ("/ip4/192.0.2.1/tcp/4001",)),),
    )
    block = encode_track(track)
    release = Release(
        account,
        RELEASE_SALT,
        "Tidal",
        "Ada Morel",
        "CC-BY-4.0",
        (cid_of(block, DAG_CBOR),),
        None,
        1,
        1_790_000_000,
    )
    signed = sign_release(release, Signer())
    return {
        "account": account.hex(),
        "account_key": ACCOUNT_KEY.hex(),
        "content_root": CONTENT_ROOT.reveal().hex(),
        "track_salt": TRACK_SALT.hex(),
        "release_salt": RELEASE_SALT.hex(),
        "file_salt": FILE_SALT.hex(),
        "track_id": track_id.hex(),
        "track_text": track_text(track_id),
        "release_text": release_text(release.release_id),
        "key": key.reveal().hex(),
        "kc": kc.hex(),
        "plaintext": {"bytes": len(plain), "rule": "byte i is (7*i + i div 256) mod 256"},
        "boundaries": boundaries(),
        "suites": suites,
        "keybox_public": free.to_bytes().hex(),
        "keybox_guardians": paid.to_bytes().hex(),
        "track_manifest": block.hex(),
        "track_cid": cid_text(cid_of(block, DAG_CBOR)),
        "release_manifest": signed.block.hex(),
        "release_cid": cid_text(signed.cid),
    }


def main() -> None:
    """Write the file beside this one."""
    path = Path(__file__).with_name("content.json")
    path.write_text(json.dumps(content(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
