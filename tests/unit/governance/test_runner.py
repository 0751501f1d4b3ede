"""The code that makes calls as the timelock, run on the EVM itself."""

import json
from importlib.resources import files

import pytest

from governance import effect
from governance.calls import Call
from governance.runner import ANSWER_BYTES_MAX, Answer, decode_answers, encode_script, overrides
from marina.errors import MalformedError
from marina.ids import Account, account_text

TIMELOCK = Account(b"\x0a" * 20)


def head(is_done: int, size_bytes: int) -> bytes:
    return is_done.to_bytes(32) + size_bytes.to_bytes(32)


def test_answers_come_back_in_order():
    data = head(1, 3) + b"abc" + head(0, 0) + head(1, 1) + b"x"
    assert decode_answers(data, 3) == (Answer(True, b"abc"), Answer(False, b""), Answer(True, b"x"))


@pytest.mark.parametrize(
    "data",
    [b"", head(1, 3) + b"ab", head(2, 0), head(1, ANSWER_BYTES_MAX + 1) + bytes(ANSWER_BYTES_MAX + 1),
     head(1, 0) + b"tail", head(1, 0) + head(1, 0), bytes(32)],
)  # fmt: skip
def test_what_is_no_answer_to_one_call_is_malformed(data):
    with pytest.raises(MalformedError, match="did not run"):
        decode_answers(data, 1)


def test_a_script_holds_each_call_with_its_length():
    script = encode_script([Call(TIMELOCK, 5, b"abc"), Call(TIMELOCK, 0, b"")])
    assert script == bytes(12) + TIMELOCK + head(5, 3) + b"abc" + bytes(12) + TIMELOCK + head(0, 0)


def test_the_timelock_keeps_its_storage_and_its_code_elsewhere():
    changed = overrides(TIMELOCK, b"\x60\x00", {Account(b"\x0b" * 20): {bytes(32): b"\x01" * 32}})
    assert "stateDiff" not in changed[account_text(TIMELOCK)]
    assert {"code": "0x6000"} in changed.values()
    assert changed[account_text(Account(b"\x0b" * 20))] == {"stateDiff": {"0x" + "00" * 32: "0x" + "01" * 32}}


def test_the_governors_queue_is_where_the_compiler_put_it():
    raw = json.loads((files("contracts") / "artifacts" / "MarinaGovernor.json").read_text("utf-8"))
    places = {each["label"]: each for each in raw["storageLayout"]["storage"]}
    assert int(places["_governanceCall"]["slot"]) == effect._GOVERNANCE_CALL_SLOT
    assert places["_governanceCall"]["offset"] == 0
