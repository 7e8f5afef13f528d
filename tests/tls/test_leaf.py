"""What a client demands of a leaf: names, validity, extensions; and the hosts that cannot be named."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from rulesproxy.tls import leaf
from rulesproxy.tls.authority import Authority

LONG = ".".join(["a" * 60] * 4)  # 243 characters.


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [f"{type(name).__name__} {name.value}" for name in found]


def common_name(certificate: x509.Certificate) -> str | None:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


@pytest.mark.parametrize(
    ("host", "san", "cn"),
    [
        ("example.com", "DNSName example.com", "example.com"),
        ("EXAMPLE.Com.", "DNSName example.com", "example.com"),
        ("localhost", "DNSName localhost", "localhost"),
        ("under_score.-dash.example", "DNSName under_score.-dash.example", "under_score.-dash.example"),
        ("bücher.example", "DNSName xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "DNSName xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "IPAddress 192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "IPAddress 2001:db8::1", "2001:db8::1"),
        ("[::1]", "IPAddress ::1", "::1"),
        ("fe80::1%eth0", "IPAddress fe80::1", "fe80::1"),
        ("1.2.3", "DNSName 1.2.3", "1.2.3"),
        ("a" * 63, "DNSName " + "a" * 63, "a" * 63),
        ("a" * 62 + ".b", "DNSName " + "a" * 62 + ".b", None),
        (LONG, "DNSName " + LONG, None),
    ],
)
def test_a_host_is_named(authority: Authority, host: str, san: str, cn: str | None) -> None:
    certificate = leaf.mint(authority, (host,))
    assert names(certificate) == [san]
    assert common_name(certificate) == cn
    # RFC 5280 section 4.2.1.6.
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.critical == (cn is None)


@pytest.mark.parametrize(
    "host",
    [
        "", ".", "a..b", ".a", "a b", "a\0b", "a\nb", "a\x7f", "*.example.com", "*", "a/b", "a:b", "a@b", "[a]",
        "é" * 70,
        "a" * 64, LONG + ".aaaaaaaaaa", "x" * 10_000, "\ud800", "a\u2028b", "[", "::g", "'", '"', "a,b", "a;b",
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_named(authority: Authority, host: str) -> None:
    with pytest.raises(ValueError, match="is not a host that a certificate can name") as caught:
        leaf.mint(authority, (host,))
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 700


def test_no_host(authority: Authority) -> None:
    with pytest.raises(ValueError, match="needs a host"):
        leaf.mint(authority, ())


def test_several_hosts_are_named_once_each(authority: Authority) -> None:
    certificate = leaf.mint(authority, ("b.example", "B.example.", "10.0.0.1", "a.example"))
    assert names(certificate) == ["DNSName b.example", "IPAddress 10.0.0.1", "DNSName a.example"]
    assert common_name(certificate) == "b.example"


def test_what_every_leaf_has(authority: Authority) -> None:
    key = leaf.new_key()
    now = datetime(2030, 5, 1, tzinfo=UTC)
    certificate = leaf.mint(authority, ("a.example",), key, now)
    certificate.verify_directly_issued_by(authority.certificate)
    assert certificate.public_key() == key.public_key()
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert start < now - timedelta(days=1)
    assert end > now + timedelta(days=60)
    assert end - start <= timedelta(days=197)
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [identifier.dotted_string for identifier in usage] == ["1.3.6.1.5.5.7.3.1"]
    ours = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    theirs = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert ours == theirs
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.BasicConstraints)


def test_serial_numbers_differ(authority: Authority) -> None:
    key = leaf.new_key()
    serials = {leaf.mint(authority, ("a.example",), key).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(serial.bit_length() > 64 for serial in serials)


@pytest.mark.parametrize("years", [-1, 9.9])
def test_a_leaf_stays_inside_the_validity_of_its_ca(authority: Authority, years: float) -> None:
    now = datetime.now(UTC) + timedelta(days=365 * years) if years > 0 else datetime.now(UTC) - timedelta(days=6)
    certificate = leaf.mint(authority, ("a.example",), None, now)
    assert certificate.not_valid_before_utc >= authority.certificate.not_valid_before_utc
    assert certificate.not_valid_after_utc <= authority.certificate.not_valid_after_utc


def test_normalise() -> None:
    assert leaf.normalise("A.B.") == "a.b"
    assert leaf.normalise("[::1]") == ipaddress.IPv6Address("::1")
