"""The CA on disk: made once, by one process, kept private, and every broken pair named in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from rulesproxy.tls import leaf
from rulesproxy.tls.authority import Authority, AuthorityError, SigningKey, state_dir

CERT, KEY = "ca.pem", "ca-key.pem"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def key_pem(key: SigningKey | x25519.X25519PrivateKey, passphrase: bytes = b"") -> bytes:
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def certificate(
    key: SigningKey,
    *,
    ca: bool | None = True,
    may_sign: bool = True,
    days: int = 100,
    issuer: tuple[x509.Certificate, SigningKey] | None = None,
    name: str = "Our own CA",
) -> x509.Certificate:
    """A certificate as a user could bring it along: no key identifiers."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer = issuer[1] if issuer else key
    end = datetime.now(UTC) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=400))
        .not_valid_after(end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not may_sign:
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def put(home: Path, cert: bytes | None, key: bytes | None) -> None:
    if cert is not None:
        (home / CERT).write_bytes(cert)
    if key is not None:
        (home / KEY).write_bytes(key)
        (home / KEY).chmod(0o600)


def test_a_new_ca(tmp_path: Path) -> None:
    home = tmp_path / "share" / "rulesproxy"
    old = os.umask(0)
    try:
        made = Authority.load_or_create(home)
    finally:
        os.umask(old)
    assert made.created
    assert (mode(home), mode(home / CERT), mode(home / KEY)) == (0o700, 0o644, 0o600)
    assert made.cert_path == home / CERT
    assert made.chain == ()
    assert sorted(path.name for path in home.iterdir()) == [".lock", KEY, CERT]

    cert = made.certificate
    assert cert.subject == cert.issuer
    (common_name,) = cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert str(common_name.value).startswith("rulesproxy CA (")
    assert cert.not_valid_before_utc < datetime.now(UTC) - timedelta(days=1)
    assert abs(cert.not_valid_after_utc - datetime.now(UTC) - timedelta(days=3650)) < timedelta(days=1)
    public = cert.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    cert.verify_directly_issued_by(cert)


def test_it_is_found_again(tmp_path: Path) -> None:
    made, found = Authority.load_or_create(tmp_path), Authority.load_or_create(tmp_path)
    assert (made.created, found.created) == (True, False)
    assert made.certificate == found.certificate
    assert made.fingerprint() == found.fingerprint()


def test_two_are_told_apart_by_name(tmp_path: Path) -> None:
    one, other = Authority.load_or_create(tmp_path / "1"), Authority.load_or_create(tmp_path / "2")
    assert one.certificate.subject != other.certificate.subject


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    made = Authority.load_or_create(tmp_path)
    secret = (tmp_path / KEY).read_text().splitlines()[1]
    assert secret not in repr(made)
    assert "PRIVATE" not in repr(made)


def test_processes_that_start_at_once_end_with_one_ca(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = (
        "import sys; from pathlib import Path; from rulesproxy.tls.authority import Authority\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "a = Authority.load_or_create(Path(sys.argv[1])); print(a.created, a.fingerprint())"
    )
    command = [sys.executable, "-c", script, str(home)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]
    assert sorted(created for created, _ in answers) == ["False"] * 5 + ["True"]
    assert {fingerprint for _, fingerprint in answers} == {Authority.load_or_create(home).fingerprint()}
    assert sorted(path.name for path in home.iterdir()) == [".lock", KEY, CERT]


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    Authority.load_or_create(tmp_path)
    tmp_path.chmod(bits)
    with pytest.raises(AuthorityError, match=f"chmod 700 {tmp_path}"):
        Authority.load_or_create(tmp_path)
    tmp_path.chmod(0o755)
    assert not Authority.load_or_create(tmp_path).created


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, bits: int) -> None:
    Authority.load_or_create(tmp_path)
    (tmp_path / KEY).chmod(bits)
    with pytest.raises(AuthorityError) as caught:
        Authority.load_or_create(tmp_path)
    assert f"{bits:04o}" in str(caught.value)
    assert f"chmod 600 {tmp_path / KEY}" in str(caught.value)
    (tmp_path / KEY).chmod(0o400)
    assert not Authority.load_or_create(tmp_path).created


EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
GOOD = pem(certificate(EC_KEY))
GOOD_KEY = key_pem(EC_KEY)

BROKEN: dict[str, tuple[bytes | None, bytes | None, str]] = {
    "certificate alone": (GOOD, None, "ca-key.pem is not: put ca-key.pem back"),
    "key alone": (None, GOOD_KEY, "ca.pem is not: put ca.pem back"),
    "half a certificate": (GOOD[: len(GOOD) // 2], GOOD_KEY, "is not a certificate in PEM"),
    "half a key": (GOOD, GOOD_KEY[: len(GOOD_KEY) // 2], "is not a private key in PEM"),
    "empty files": (b"", b"", "is not a private key in PEM"),
    "empty certificate": (b"", GOOD_KEY, "is not a certificate in PEM"),
    "garbage in PEM": (
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", GOOD_KEY, "is not a certificate in PEM",
    ),
    "another pair's key": (GOOD, key_pem(OTHER_KEY), "do not belong together"),
    "encrypted key": (GOOD, key_pem(EC_KEY, b"secret"), "is encrypted"),
    "a key that cannot sign": (GOOD, key_pem(x25519.X25519PrivateKey.generate()), "cannot sign certificates"),
    "not a CA": (pem(certificate(EC_KEY, ca=False)), GOOD_KEY, "is not a CA certificate"),
    "no basic constraints": (pem(certificate(EC_KEY, ca=None)), GOOD_KEY, "is not a CA certificate"),
    "may not sign": (pem(certificate(EC_KEY, may_sign=False)), GOOD_KEY, "keyUsage lacks keyCertSign"),
    "expired": (pem(certificate(EC_KEY, days=-1)), GOOD_KEY, "expired on 20"),
}  # fmt: skip


@pytest.mark.parametrize(("cert", "key", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_pair_is_one_clear_line_and_is_left_alone(
    tmp_path: Path, cert: bytes | None, key: bytes | None, words: str
) -> None:
    put(tmp_path, cert, key)
    with pytest.raises(AuthorityError) as caught:
        Authority.load_or_create(tmp_path)
    message = str(caught.value)
    assert words in message
    assert str(tmp_path) in message
    assert "\n" not in message
    assert GOOD_KEY.decode().splitlines()[1][:16] not in message
    for name, content in ((CERT, cert), (KEY, key)):
        path = tmp_path / name
        assert (path.read_bytes() if path.exists() else None) == content


OWN: dict[str, Callable[[], SigningKey]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_a_users_own_ca(tmp_path: Path, make: Callable[[], SigningKey]) -> None:
    key = make()
    root = certificate(key)
    put(tmp_path, pem(root), key_pem(key))
    authority = Authority.load_or_create(tmp_path)
    assert not authority.created
    assert authority.chain == ()
    leaf.mint(authority, ("a.example",)).verify_directly_issued_by(root)


def test_an_intermediate_brings_its_chain_without_the_root(tmp_path: Path) -> None:
    root = certificate(OTHER_KEY, name="Root")
    signing = certificate(EC_KEY, name="Signing", issuer=(root, OTHER_KEY))
    put(tmp_path, pem(signing, root), GOOD_KEY)
    authority = Authority.load_or_create(tmp_path)
    assert authority.certificate == signing
    assert authority.chain == (signing,)


def check_home(home: Path, words: str) -> None:
    with pytest.raises(AuthorityError, match=words) as caught:
        Authority.load_or_create(home)
    assert str(home) in str(caught.value)
    assert "RULESPROXY_HOME" in str(caught.value)


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_home(tmp_path / "file", "File exists|Not a directory")
    check_home(tmp_path / "file" / "deeper", "Not a directory")
    check_home(tmp_path / ("x" * 300), "File name too long")
    (tmp_path / KEY).mkdir()
    (tmp_path / KEY).chmod(0o700)
    (tmp_path / CERT).write_bytes(GOOD)
    check_home(tmp_path, "Is a directory")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RULESPROXY_HOME": "/srv/ca"}, "/srv/ca"),
        ({"RULESPROXY_HOME": "~/ca"}, "/somewhere/ca"),
        ({"RULESPROXY_HOME": "", "XDG_DATA_HOME": "/data"}, "/data/rulesproxy"),
        ({"XDG_DATA_HOME": "relative"}, "/somewhere/.local/share/rulesproxy"),
        ({}, "/somewhere/.local/share/rulesproxy"),
    ],
)
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these folders are those of XDG")
def test_the_state_directory(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("RULESPROXY_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert state_dir() == Path(expected)
