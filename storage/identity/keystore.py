"""The account key as an Ethereum keystore (Web3 Secret Storage, version 3), for other wallets."""

from __future__ import annotations

import json

from marina.secret import Secret
from storage.identity.passphrase import check_new_passphrase, passphrase_bytes

SCRYPT_N = 262_144
"""Work factor that go-ethereum calls standard; about a second."""


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
