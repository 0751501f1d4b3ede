"""No secret shows up in a repr, an exception, a log line, the arguments or the environment."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from marina.clock import ManualClock
from marina.errors import MarinaError
from marina.log import JsonFormatter
from marina.secret import Secret
from storage.identity.owner import Owner
from storage.identity.unlock import PassphraseSources
from storage.identity.vault_file import KdfCost
from storage.identity.words import parse_words

PASSPHRASE = "correct horse battery"
TYPED_WRONG = "incorrect pony capacitor"
WORDS = " ".join(["abandon"] * 23 + ["art"])
TYPO = "zzyzx"
CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)


def misuse(owner: Owner, directory: Path):
    """Give every failure that handles a secret."""
    wrong = Secret(TYPED_WRONG)
    yield lambda: owner.unlock(wrong)
    yield lambda: owner.words(wrong)
    yield lambda: owner.change_passphrase(wrong, Secret("long enough to be new"))
    yield lambda: owner.change_passphrase(Secret(PASSPHRASE), Secret("short"))
    yield lambda: owner.export_keystore_v3(Secret(PASSPHRASE), Secret("short"))
    yield lambda: owner.export_keystore_v3(wrong, Secret(PASSPHRASE))
    yield lambda: Owner.create(directory, Secret(PASSPHRASE), clock=ManualClock(), cost=CHEAP)
    yield lambda: parse_words(WORDS.replace("art", TYPO))
    yield lambda: parse_words(WORDS.replace("art", "zoo"))
    yield lambda: PassphraseSources(file=directory / "open-to-all").read()
    yield lambda: PassphraseSources(file=directory / "two-lines").read()


def frames_of(error: BaseException) -> list[str]:
    """Return the locals of our own frames as a debugger or an error reporter would show them."""
    shown = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "/storage/" in frame.f_code.co_filename or "/marina/" in frame.f_code.co_filename:
            shown += [repr(value) for name, value in frame.f_locals.items() if name == "self"]
    return shown


def test_failures_reprs_and_logs_show_no_secret(tmp_path):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger("marina")
    root.addHandler(handler)
    previous_level = root.level
    root.setLevel(logging.DEBUG)
    try:
        owner = Owner.create(
            tmp_path, Secret(PASSPHRASE), clock=ManualClock(), words=parse_words(WORDS), cost=CHEAP
        )
        (tmp_path / "open-to-all").write_text(PASSPHRASE)
        (tmp_path / "open-to-all").chmod(0o644)
        (tmp_path / "two-lines").write_text(f"{PASSPHRASE}\n{TYPED_WRONG}\n")
        (tmp_path / "two-lines").chmod(0o600)
        shown = [repr(owner), repr(owner.vault), repr(owner.device), repr(owner.account_signer())]
        shown += [repr(owner.content_root()), str(owner.words(Secret(PASSPHRASE))), f"{owner.master_key()}"]
        failures = 0
        for attempt in misuse(owner, tmp_path):
            with pytest.raises(MarinaError) as failure:
                attempt()
            failures += 1
            shown += traceback.format_exception(failure.value)
            shown += [repr(failure.value), repr(failure.value.args), repr(failure.value.__context__)]
            shown += frames_of(failure.value)
            logging.getLogger("marina.test").error("failed", exc_info=failure.value)
        assert failures == 11
    finally:
        root.removeHandler(handler)
        root.setLevel(previous_level)
    text = "\n".join(shown) + stream.getvalue()
    assert "device bound" in text
    _assert_clean(text, owner)


def _assert_clean(text: str, owner: Owner) -> None:
    # source lines of this test in the tracebacks name the constants, never their values
    keys = [owner.vault.get(name).reveal() for name in owner.vault.item_names()]
    keys += [owner.master_key().reveal(), owner.device.seed.reveal()]
    for secret in (PASSPHRASE, TYPED_WRONG, TYPO, "abandon"):
        assert secret not in text
    for key in keys:
        for form in (key.hex(), repr(key), str(list(key))):
            assert form not in text


PROGRAM = """
import json, os, sys
from pathlib import Path
from marina.clock import ManualClock
from storage.identity.owner import Owner
from storage.identity.unlock import PassphraseSources
owner = Owner.open(Path(sys.argv[1]), clock=ManualClock())
owner.unlock(PassphraseSources.from_environment(os.environ, descriptor=0).read())
owner.content_root()
print(json.dumps({
    "locked": owner.is_locked,
    "cmdline": Path("/proc/self/cmdline").read_text(errors="replace"),
    "environ": Path("/proc/self/environ").read_text(errors="replace") + repr(dict(os.environ)),
    "heavy": [name for name in ("eth_account", "slip10", "eth_keys", "web3") if name in sys.modules],
}))
"""


def test_a_process_is_unlocked_without_argv_environment_or_heavy_imports(tmp_path):
    Owner.create(tmp_path, Secret(PASSPHRASE), clock=ManualClock(), cost=CHEAP)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MARINA_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        input=PASSPHRASE + "\n",
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=30,
    )
    told = json.loads(done.stdout)
    assert told["locked"] is False
    assert PASSPHRASE not in told["cmdline"] + told["environ"] + done.stderr
    assert told["heavy"] == []
