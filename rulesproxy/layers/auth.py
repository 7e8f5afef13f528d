"""Whether a client may use this proxy: user and password, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac

from rulesproxy.flow.headers import Field

CHALLENGE: Field = (b"proxy-authenticate", b"Proxy-Authenticate", b'Basic realm="rulesproxy", charset="UTF-8"')
"""What a client without them is told (RFC 7617)."""


def accepts(auth: str, user: bytes, password: bytes) -> bool:
    """Whether these are the user and the password of `auth`, which is `user:password`."""
    wanted_user, _, wanted_password = auth.encode().partition(b":")
    # Both are always compared: how long it takes says nothing about which one is wrong.
    same_user = hmac.compare_digest(user, wanted_user)
    same_password = hmac.compare_digest(password, wanted_password)
    return same_user and same_password


def accepts_basic(auth: str, fields: list[Field]) -> bool:
    """Whether the Proxy-Authorization among these fields is that of `auth` (RFC 7617)."""
    values = [value for lower, _, value in fields if lower == b"proxy-authorization"]
    if len(values) != 1:
        return False
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return False
    try:
        user, _, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return False
    return accepts(auth, user, password)
