"""The certificate authority on disk: found, checked, or made once.

It knows two files, `ca.pem` and `ca-key.pem`, and who may read them. It does not know what is signed with them
(`leaf.py`), nor how clients come to trust them.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

SigningKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

CERTIFICATE = "ca.pem"
KEY = "ca-key.pem"

_VALIDITY = timedelta(days=3650)
_BACKDATED = timedelta(days=7)
"""Before now, for clients whose clock is behind."""
_LOCK_WAIT = 10.0
"""Seconds to wait for another process that is making the CA; it takes milliseconds."""


class AuthorityError(Exception):
    """The CA cannot be used. `str()` is one line for the user: the file, what is wrong with it, what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign.

    Attributes:
        cert_path: the file that clients must trust.
        certificate: the signing certificate, the first one in that file.
        chain: what a client needs besides its root: the intermediates of a user's own CA, the signing one first.
            Empty where the signing certificate is itself a root.
        key: its private key. Never logged, never shown.
        created: whether this call made the CA, so that the caller can say so once.
    """

    cert_path: Path
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: SigningKey
    created: bool

    @classmethod
    def load_or_create(cls, home: Path) -> Authority:
        """The CA in `home`; where there is none, a new one is made there, by one process alone.

        Raises:
            AuthorityError: a file is unreadable, incomplete, no CA, expired, of the wrong pair, or readable by others.
        """
        created = False
        if not _is_complete(home):
            created = _create(home)
        return _load(home, created)

    def fingerprint(self) -> str:
        """The SHA-256 of the certificate in DER, as `AB:CD:…`: what trust stores and browsers show."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def state_dir() -> Path:
    """Where the CA lives: `$RULESPROXY_HOME`, else a folder in the platform's data directory. It need not exist."""
    chosen = os.environ.get("RULESPROXY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rulesproxy"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "rulesproxy"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share") / "rulesproxy"


# Finding and checking


def _is_complete(home: Path) -> bool:
    """Whether both files are there. The certificate is put in place last, so it never stands alone for a moment."""
    try:
        found = [name for name in (CERTIFICATE, KEY) if (home / name).exists()]
    except OSError as error:
        raise AuthorityError(f"cannot look into {home}: {_why(error)}; {_ELSEWHERE}") from None
    if found == [CERTIFICATE]:
        raise _incomplete(home, CERTIFICATE, KEY)
    return len(found) == 2


def _load(home: Path, created: bool) -> Authority:
    cert_path, key_path = home / CERTIFICATE, home / KEY
    _check_private(key_path)
    key = _read_key(key_path)
    certificates = _read_certificates(cert_path)
    certificate = certificates[0]
    if certificate.public_key() != key.public_key():
        raise AuthorityError(
            f"{cert_path} and {key_path} do not belong together: put the right pair there, {_START_OVER}"
        )
    _check_authority(cert_path, certificate)
    chain = tuple(one for one in certificates if one.subject != one.issuer)
    return Authority(cert_path, certificate, chain, key, created)


def _check_private(path: Path) -> None:
    if os.name == "nt":
        return  # The mode bits mean nothing there; the user's own data directory is private.
    try:
        mode = path.stat().st_mode & 0o777
        folder = path.parent.stat().st_mode & 0o777
    except OSError as error:
        raise _unreadable(path, error) from None
    if folder & 0o022:
        # Whoever can write there can put a key of their own in the place of this one.
        raise AuthorityError(
            f"other users of this machine can write to {path.parent} (mode {folder:04o}): run `chmod 700 {path.parent}`"
        )
    if mode & 0o077:
        raise AuthorityError(
            f"{path} can be used by other users of this machine (mode {mode:04o}): run `chmod 600 {path}`"
        )


def _read_key(path: Path) -> SigningKey:
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise AuthorityError(
            f"{path} is encrypted: take the passphrase off with `openssl pkey -in {path} -out {path}.new`"
            " and put the result in its place"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # The library's own words are left out: they could quote the file, and a private key is never shown.
        raise AuthorityError(f"{path} is not a private key in PEM: put the right one there, {_START_OVER}") from None
    if not isinstance(key, SigningKey):
        raise AuthorityError(f"{path} is a key that cannot sign certificates: use EC, RSA or Ed25519")
    return key


def _read_certificates(path: Path) -> list[x509.Certificate]:
    data = _read(path)
    try:
        certificates = x509.load_pem_x509_certificates(data)
        for certificate in certificates:
            certificate.extensions  # noqa: B018  It is parsed here, so that a broken one is found here.
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise AuthorityError(f"{path} is not a certificate in PEM: put the right one there, {_START_OVER}") from error
    return certificates


def _check_authority(path: Path, certificate: x509.Certificate) -> None:
    extensions = certificate.extensions
    try:
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise AuthorityError(f"{path} is not a CA certificate (no basicConstraints CA:TRUE): clients would refuse it")
    try:
        may_sign = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        may_sign = True
    if not may_sign:
        raise AuthorityError(f"{path} may not sign certificates (keyUsage lacks keyCertSign): clients would refuse it")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise AuthorityError(
            f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: put a valid one there, {_START_OVER}"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


_ELSEWHERE = "fix that, or set RULESPROXY_HOME to another folder"
_START_OVER = f"or move both {CERTIFICATE} and {KEY} away to have a new CA made"


def _unreadable(path: Path, error: OSError) -> AuthorityError:
    return AuthorityError(f"cannot read {path}: {_why(error)}; {_ELSEWHERE}")


def _incomplete(home: Path, there: str, missing: str) -> AuthorityError:
    return AuthorityError(
        f"{home / there} is there but {home / missing} is not: put {missing} back, "
        f"or move {there} away to have a new CA made"
    )


def _why(error: OSError) -> str:
    return error.strerror or str(error)


# Making


def _create(home: Path) -> bool:
    """Make the pair, unless another process has done it meanwhile; whether it was made here."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(home / ".lock"):
            if _is_complete(home):
                return False
            if (home / KEY).exists():
                # It may be the user's own key: it is never overwritten.
                raise _incomplete(home, KEY, CERTIFICATE)
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _self_signed(key)
            _put(home / KEY, _private_pem(key), 0o600)
            _put(home / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
            return True
    except OSError as error:
        raise AuthorityError(f"cannot make a CA in {home}: {_why(error)}; {_ELSEWHERE}") from None


def _private_pem(key: SigningKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A root with path length 0: it signs leaves, and nothing that signs."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _common_name())])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _common_name() -> str:
    """The host helps a person, the suffix keeps two CAs of one host apart, for people and for verifiers."""
    host = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:32]
    suffix = secrets.token_hex(3)
    return f"rulesproxy CA ({host} {suffix})" if host else f"rulesproxy CA ({suffix})"


def _put(path: Path, data: bytes, mode: int) -> None:
    """Write a whole file or none: a new temporary one beside it, then a rename. No moment shows it half or too open."""
    # mkstemp opens with O_EXCL and mode 0600.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of this folder. The system releases it when a process dies, so it is never stale."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise AuthorityError(f"another process holds {path} for over {_LOCK_WAIT:.0f} seconds: end it")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
