"""`SSLContext`s, made late and kept: towards clients with a minted certificate, towards servers with what they trust.

It knows the settings of TLS on both sides. It does not know connections: those are `layers.tls_stream`.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeAlias

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rulesproxy.flow.route import ClientCert
from rulesproxy.limits import DEFAULT, Limits
from rulesproxy.tls import leaf
from rulesproxy.tls.authority import Authority

_RENEW = 30 * 86400.0
"""Seconds before its leaf expires that a context is made anew: a proxy may run for months."""


class ContextError(ValueError):
    """A file that a context needs cannot be used. `str()` is one line: the file, what is wrong, what to do."""


class ServerContexts:
    """Contexts towards clients, one for each (host, ALPN), each with a leaf of its own.

    All leaves of a process share one key. Not thread-safe: for one event loop.

    Args:
        authority: who signs.
        limits: `contexts` bounds how many are kept.
        now: the time in seconds since the epoch, for tests.
    """

    def __init__(self, authority: Authority, limits: Limits = DEFAULT, now: Callable[[], float] = time.time) -> None:
        self._authority = authority
        self._limit = limits.contexts
        self._now = now
        self._key = leaf.new_key()
        # What follows the leaf in the file is the same for every host.
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)
        self._rest = chain + self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._kept: OrderedDict[tuple[str, tuple[str, ...]], tuple[ssl.SSLContext, float]] = OrderedDict()

    def get(self, host: str, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """The context that speaks for `host` and accepts the protocols of `alpn`, our favourite first.

        Raises:
            ValueError: a certificate cannot name that host.
        """
        key = (host, alpn)
        found = self._kept.get(key)
        if found and self._now() < found[1]:
            self._kept.move_to_end(key)
            return found[0]
        context, expires = self._make(host, alpn)
        self._kept[key] = (context, expires - _RENEW)
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return context

    def _make(self, host: str, alpn: tuple[str, ...]) -> tuple[ssl.SSLContext, float]:
        certificate = leaf.mint(self._authority, (host,), self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client could make us work at will with it; HTTP/2 forbids it (RFC 9113 section 9.2.1).
        context.options |= ssl.OP_NO_RENEGOTIATION
        if alpn:
            context.set_alpn_protocols(list(alpn))
        with _as_file(certificate.public_bytes(Encoding.PEM) + self._rest) as path:
            context.load_cert_chain(path)
        return context, certificate.not_valid_after_utc.timestamp()


_Stamp: TypeAlias = tuple[str, int, int]
_Key: TypeAlias = tuple[bool, tuple[_Stamp, ...], tuple[_Stamp, ...], tuple[str, ...]]


class ClientContexts:
    """Contexts towards servers, one for each (verify, CA files, client certificate, ALPN).

    The first use loads the system's trust store (some 20 ms), later ones cost microseconds. A file that changed on
    disk is read again. Not thread-safe: for one event loop.

    The system's CAs are held to RFC 5280 strictly, as by Python 3.13. A company's CA that lacks key identifiers or key
    usage fails that; naming its file in `ca` is the way to trust it all the same.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limit = limits.trusts
        self._kept: OrderedDict[
            tuple[bool, tuple[_Stamp, ...], tuple[_Stamp, ...], tuple[str, ...]], ssl.SSLContext
        ] = OrderedDict()

    def get(
        self,
        *,
        verify: bool = True,
        ca: tuple[Path, ...] = (),
        client_cert: ClientCert | None = None,
        alpn: tuple[str, ...] = (),
    ) -> ssl.SSLContext:
        """The context for a server.

        Args:
            verify: whether its certificate must be trusted and name the host. Without it weak keys and old
                signatures are taken as well.
            ca: PEM files with CAs to trust besides the system's. They may be what a test bench makes: with them the
                strict checks of RFC 5280 (key identifiers, key usage) are off, and an intermediate or the server's
                own certificate is trusted as it stands.
            client_cert: PEM files with our certificate, its chain and its key.
            alpn: the protocols to offer, our favourite first.

        Raises:
            ContextError: a file is missing or is not what it should be.
        """
        stamp = tuple([_stamp(path) for path in client_cert or () if path is not None])
        key = (verify, tuple(_stamp(path) for path in ca) if verify else (), stamp, alpn)
        context = self._kept.get(key)
        if context is None:
            context = self._kept[key] = _towards_servers(verify, ca, client_cert, alpn)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return context


def _towards_servers(
    verify: bool, ca: tuple[Path, ...], client_cert: ClientCert | None, alpn: tuple[str, ...]
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify:
        _trust(context, ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    # Set after the ciphers: SECLEVEL=0 does not bring the old versions back.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_cert and alpn != ("h2",):
        # Servers ask for a certificate late: TLS 1.2 ones by renegotiation, TLS 1.3 ones after the handshake.
        context.post_handshake_auth = True
    else:
        # HTTP/2 allows neither (RFC 9113 section 9.2.1, RFC 8740).
        context.options |= ssl.OP_NO_RENEGOTIATION
    if client_cert:
        _load_client_cert(context, client_cert)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _trust(context: ssl.SSLContext, ca: tuple[Path, ...]) -> None:
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if not context.cert_store_stats()["x509"] and not _has_folder():
        _trust_certifi(context)
    if not ca:
        # Python sets it itself from 3.13 on.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for path in ca:
        _load_ca(context, path)


def check_files(ca: Iterable[Path] = (), client_cert: ClientCert | None = None) -> None:
    """Find out before the first connection whether these files can be used.

    Raises:
        ContextError: as `ClientContexts.get`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in ca:
        _load_ca(context, path)
    if client_cert is not None:
        _load_client_cert(context, client_cert)


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ContextError(f"{path} has no certificate in PEM: name a file with the CA to trust") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _has_folder() -> bool:
    """Whether the trust store is a folder, which OpenSSL reads as it needs it and does not count."""
    folder = ssl.get_default_verify_paths().capath
    try:
        return folder is not None and any(os.scandir(folder))
    except OSError:
        return False


def _trust_certifi(context: ssl.SSLContext) -> None:
    """For a system without a trust store: the bundle of Mozilla, where that package is installed."""
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(certifi.where())


def _load_client_cert(context: ssl.SSLContext, files: ClientCert) -> None:
    path, key = files.cert, files.key or files.cert

    def refuse() -> NoReturn:
        # Without this OpenSSL would ask on the terminal.
        raise ContextError(f"the key in {key} is encrypted: take the passphrase off with `openssl pkey`")

    # OpenSSL does not tell which of two files is missing.
    for file in (path, key):
        _stamp(file)
    try:
        context.load_cert_chain(path, files.key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ContextError(f"the key in {key} does not belong to its certificate") from None
        if files.key is None:
            raise ContextError(f"{path} is not a client certificate: it needs certificate and key, both PEM") from None
        raise ContextError(f"{path} and {key} are not a certificate and its key, both PEM") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _stamp(path: Path) -> _Stamp:
    """What changes when the file does."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return str(path), status.st_mtime_ns, status.st_size


def _unreadable(path: Path, error: OSError) -> ContextError:
    return ContextError(f"cannot read {path}: {error.strerror or error}")


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path under which `data` can be read for a moment: `load_cert_chain` takes nothing else.

    It holds a private key, so it is memory without a name where the system has that.
    """
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            path = f"/proc/self/fd/{handle}"
            if os.path.exists(path):
                os.write(handle, data)
                yield path
                return
        finally:
            os.close(handle)
    with _temporary(data) as path:
        yield path


@contextmanager
def _temporary(data: bytes) -> Iterator[str]:
    # mkstemp: mode 0600, O_EXCL. Closed before it is read, since Windows would not let it be opened twice.
    handle, path = tempfile.mkstemp(prefix="rulesproxy-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)
