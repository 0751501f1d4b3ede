"""JSON Web Tokens with exactly one algorithm: HS256. Nothing is negotiated.

One node issues and checks its own tokens, so a symmetric key is enough, and the header is a constant
that is compared, not read: ``alg: none`` and every other algorithm fail before any parsing.
Source: RFC 7519, RFC 8725 §3.1; design, security §4 rule 6.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Any

from marina.errors import MalformedError
from marina.secret import Secret

KEY_BYTES = 32
TOKEN_CHARS_MAX = 2048


@dataclass(frozen=True, slots=True)
class Claims:
    """The seven claims; a token has all of them and no other.

    Attributes:
        iss: who issued it, ``marina:<node id>``.
        aud: who may accept it, ``marina-api:<node id>``.
        sub: who shows it: ``cli``, ``session:<id>`` or ``script:<id>``.
        jti: this token's own id.
        iat: Unix seconds of issue.
        exp: Unix seconds from which on it is refused.
        scope: scopes, separated by spaces.
    """

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    exp: int
    scope: str


_TYPES: dict[str, type] = {
    "iss": str,
    "aud": str,
    "sub": str,
    "jti": str,
    "iat": int,
    "exp": int,
    "scope": str,
}


def sign_claims(key: Secret[bytes], claims: Claims) -> str:
    """Return the compact token of the claims."""
    signed = f"{_HEADER}.{_b64(json.dumps(asdict(claims), separators=(',', ':')).encode())}"
    return f"{signed}.{_b64(_mac(key, signed))}"


def read_claims(key: Secret[bytes], token: str) -> Claims:
    """Return the claims of a token whose signature fits; time and audience are the caller's to check.

    Raises:
        MalformedError: another header, a wrong signature, or other claims than the seven.
    """
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise MalformedError("the token is no token of this node")
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    if header != _HEADER or not hmac.compare_digest(_unb64(signature), _mac(key, signed)):
        raise MalformedError("the token is no token of this node")
    return _claims(_unb64(payload))


def _claims(payload: bytes) -> Claims:
    try:
        values: Any = json.loads(payload)
    except (ValueError, RecursionError) as err:
        raise MalformedError("the token's claims are not JSON") from err
    if not isinstance(values, dict) or values.keys() != _TYPES.keys():
        raise MalformedError("the token has other claims than it should")
    if any(type(values[name]) is not kind for name, kind in _TYPES.items()):
        raise MalformedError("a claim of the token has the wrong type")
    return Claims(**values)


def _mac(key: Secret[bytes], signed: str) -> bytes:
    return hmac.digest(key.reveal(), signed.encode(), hashlib.sha256)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as err:
        raise MalformedError("the token is not base64url") from err
    if _b64(data) != text:
        raise MalformedError("the token is not canonical base64url")
    return data


_HEADER = _b64(b'{"alg":"HS256","typ":"JWT"}')
