"""Leaf certificates: one for each intercepted host, signed by the CA.

It knows what a client demands of a server certificate, and nothing of files or sockets.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from rulesproxy.tls.authority import Authority

LeafKey: TypeAlias = ec.EllipticCurvePrivateKey
Name: TypeAlias = str | ipaddress.IPv4Address | ipaddress.IPv6Address

BEFORE = timedelta(days=7)
"""How far a leaf is backdated, for clients whose clock is behind."""
AFTER = timedelta(days=90)
"""How long it is valid. Clients cap the whole: Chromium at 197 days, and the caps are on their way down to 100."""

_DNS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*").fullmatch
_SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_USAGE = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


def new_key() -> LeafKey:
    """A key for leaves: EC P-256. One per process is enough, and making one costs as much as a certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def mint(
    authority: Authority, hosts: tuple[str, ...], key: LeafKey | None = None, now: datetime | None = None
) -> x509.Certificate:
    """A certificate for exactly these hosts, names or addresses; no wildcard.

    Args:
        authority: who signs.
        hosts: at least one. Upper case, a trailing dot, brackets and IDNs are brought into the certificate's form.
        key: the leaf's key; a new one where it is None, which is of use only to look at the certificate.
        now: the time, for tests.

    Raises:
        ValueError: no host, or one that a certificate cannot name.
    """
    if not hosts:
        raise ValueError("a certificate needs a host")
    names = tuple(dict.fromkeys(normalise(host) for host in hosts))
    now = now or datetime.now(UTC)
    issuer = authority.certificate
    # RFC 5280 section 4.1.2.5: some verifiers want a leaf inside the validity of its CA.
    before = max(now - BEFORE, issuer.not_valid_before_utc)
    after = min(now + AFTER, issuer.not_valid_after_utc)
    subject = _subject(str(names[0]))
    alternative = x509.SubjectAlternativeName(
        [x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name) for name in names]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key((key or new_key()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(before)
        .not_valid_after(after)
        # RFC 5280 section 4.2.1.6: critical where the subject is empty.
        .add_extension(alternative, critical=not subject.rdns)
        .add_extension(_USAGE, critical=True)
        .add_extension(_SERVER_AUTH, critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
    )
    edwards = isinstance(authority.key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    return builder.sign(authority.key, None if edwards else hashes.SHA256())


def normalise(host: str) -> Name:
    """A host as a certificate names it: an address, or a lower-case ASCII name without a trailing dot.

    Raises:
        ValueError: neither an address nor a host name of at most 253 characters.
    """
    address = host
    if ":" in host:
        # A zone means something on this machine only and has no place in a certificate.
        address = host.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        pass
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    name = name.lower().removesuffix(".")
    if len(name) > 253 or not _DNS(name):
        shown = ascii(host if len(host) <= 80 else host[:77] + "...")
        raise ValueError(f"{shown} is not a host that a certificate can name")
    return name


def _subject(name: str) -> x509.Name:
    """The host as common name, which only people read; none where it is over the 64 characters of X.520."""
    if len(name) >= 64:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The identifier that the CA carries; one from its key where a user's own CA carries none."""
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
