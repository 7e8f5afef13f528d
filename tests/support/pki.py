"""Certificates for test servers: a good one, and every kind of bad one."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, TypeAlias

import trustme

Kind: TypeAlias = Literal["good", "expired", "not-yet", "wrong-host", "self-signed", "unknown-ca", "client-cert", "old"]
NAMES = ("localhost", "127.0.0.1", "::1", "example.test", "stg.t", "pinned.t", "bank.t", "self.t")


@cache
def authority() -> trustme.CA:
    """The authority that tests trust."""
    return trustme.CA(organization_name="Test Authority")


@cache
def ca_file() -> Path:
    """Its certificate, as a file in PEM."""
    folder = Path(mkdtemp(prefix="test-ca-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return path


@cache
def server_context(kind: Kind = "good", alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """The TLS context of a server.

    `good` is vouched for by `authority()`; `client-cert` too, and asks for a client certificate from it; `old` speaks
    TLS 1.1 at most; the others are what their names say.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _certificate(kind).configure_cert(context)
    if kind == "client-cert":
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    if kind == "old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _certificate(kind: Kind) -> trustme.LeafCert:
    now = datetime.now(UTC)
    if kind == "expired":
        return authority().issue_cert(*NAMES, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    if kind == "not-yet":
        return authority().issue_cert(*NAMES, not_before=now + timedelta(days=1), not_after=now + timedelta(days=9))
    if kind == "wrong-host":
        return authority().issue_cert("somebody-else.test")
    if kind == "unknown-ca":
        return trustme.CA(organization_name="Unknown Authority").issue_cert(*NAMES)
    if kind == "self-signed":
        return _self_signed()
    return authority().issue_cert(*NAMES)


def _self_signed() -> trustme.LeafCert:
    """A certificate that nobody but itself vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return trustme.LeafCert(private, certificate.public_bytes(serialization.Encoding.PEM), [])


def client_context(ca: Path | str | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """The TLS context of a client that trusts one authority: that in `ca`, else `authority()`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(ca or ca_file()))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_hello(host: str) -> bytes:
    """The first message of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
