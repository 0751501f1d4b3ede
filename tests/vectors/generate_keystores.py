"""Write keystores.json: wallet files of other tools that must stay readable.

The first two are the official test vectors of Web3 Secret Storage. The others were made once with
eth-account and random salts, spelled as other wallets spell them; running this makes new ones.
"""

from __future__ import annotations

import json
from pathlib import Path

from eth_account import Account as EthAccount

PATH = Path(__file__).with_name("keystores.json")
KEY = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
OFFICIAL = [
    {
        "name": "Web3 Secret Storage, pbkdf2",
        "passphrase": "testpassword",
        "key": KEY.hex(),
        "file": {
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
                "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
                "kdf": "pbkdf2",
                "kdfparams": {
                    "c": 262144,
                    "dklen": 32,
                    "prf": "hmac-sha256",
                    "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
                },
                "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
            },
            "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
            "version": 3,
        },
    },
    {
        "name": "Web3 Secret Storage, scrypt",
        "passphrase": "testpassword",
        "key": KEY.hex(),
        "file": {
            "crypto": {
                "cipher": "aes-128-ctr",
                "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
                "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
                "kdf": "scrypt",
                "kdfparams": {
                    "dklen": 32,
                    "n": 262144,
                    "r": 1,
                    "p": 8,
                    "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
                },
                "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
            },
            "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
            "version": 3,
        },
    },
]


def made() -> list[dict[str, object]]:
    """Return files as geth, MetaMask and MyEtherWallet spell them."""
    geth = EthAccount.encrypt(bytes(31) + b"\x07", "pass", kdf="scrypt", iterations=4096)
    metamask = EthAccount.encrypt(KEY, "κωδικός ﬁne", kdf="scrypt", iterations=4096)
    metamask["address"] = "0x" + metamask["address"].lower().removeprefix("0x")
    old = EthAccount.encrypt(KEY, "correct horse", kdf="pbkdf2", iterations=10_240)
    old["Crypto"] = old.pop("crypto")
    return [
        {
            "name": "go-ethereum light scrypt",
            "passphrase": "pass",
            "key": (bytes(31) + b"\x07").hex(),
            "file": geth,
        },
        {
            "name": "MetaMask, a passphrase with letters of two normal forms",
            "passphrase": "κωδικός ﬁne",
            "key": KEY.hex(),
            "file": metamask,
        },
        {
            "name": "MyEtherWallet, capital Crypto",
            "passphrase": "correct horse",
            "key": KEY.hex(),
            "file": old,
        },
    ]


if __name__ == "__main__":
    PATH.write_text(json.dumps([*OFFICIAL, *made()], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
