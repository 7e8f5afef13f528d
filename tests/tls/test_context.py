"""Contexts: what they accept, what they trust, and how long they are kept. Real handshakes in memory."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rulesproxy.flow.route import ClientCert
from rulesproxy.limits import Limits
from rulesproxy.tls import context as module
from rulesproxy.tls.authority import Authority
from rulesproxy.tls.context import ClientContexts, ContextError, ServerContexts


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> ssl.SSLObject:
    """The client's end, once both have agreed. Raises what the side that fails raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=host)
    theirs = server.wrap_bio(up, down, server_side=True)
    todo = [ours, theirs]
    for _ in range(10):
        for side in list(todo):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            todo.remove(side)
        if not todo:
            return ours
    raise AssertionError("the handshake does not end")


def trusting(authority: Authority, **settings: object) -> ssl.SSLContext:
    """The strictest client there is: Python 3.13's defaults, and our CA alone."""
    client = ssl.create_default_context(cafile=str(authority.cert_path))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name, value in settings.items():
        setattr(client, name, value)
    return client


# Towards clients


@pytest.mark.parametrize(
    "host", ["a.example", "192.0.2.1", "::1", "b\u00fccher.example", "x" * 63 + ".example", "under_score.example"]
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_strict_client_accepts_it(authority: Authority, host: str, version: ssl.TLSVersion) -> None:
    server = ServerContexts(authority).get(host, ())
    client = trusting(authority, minimum_version=version, maximum_version=version)
    assert handshake(client, server, host).version() == version.name.replace("_", ".")


def test_another_host_is_refused(authority: Authority) -> None:
    server = ServerContexts(authority).get("a.example", ())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(trusting(authority), server, "b.example")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_versions_before_1_2_are_refused(authority: Authority) -> None:
    client = trusting(authority, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(client, ServerContexts(authority).get("a.example", ()), "a.example")


@pytest.mark.parametrize(
    ("accepted", "offered", "chosen"),
    [
        (("h2", "http/1.1"), ["http/1.1", "h2"], "h2"),
        (("http/1.1",), ["h2", "http/1.1"], "http/1.1"),
        (("http/1.1",), ["h2"], None),
        ((), ["h2"], None),
        (("h2",), [], None),
    ],
)
def test_alpn(authority: Authority, accepted: tuple[str, ...], offered: list[str], chosen: str | None) -> None:
    client = trusting(authority)
    if offered:
        client.set_alpn_protocols(offered)
    done = handshake(client, ServerContexts(authority).get("a.example", accepted), "a.example")
    assert done.selected_alpn_protocol() == chosen


def test_an_intermediate_ca_sends_its_chain(tmp_path: Path) -> None:
    root = trustme.CA()
    signing = root.create_child_ca()
    (tmp_path / "ca.pem").write_bytes(signing.cert_pem.bytes() + root.cert_pem.bytes())
    (tmp_path / "ca-key.pem").write_bytes(signing.private_key_pem.bytes())
    (tmp_path / "ca-key.pem").chmod(0o600)
    authority = Authority.load_or_create(tmp_path)
    client = ssl.create_default_context(cadata=root.cert_pem.bytes().decode())
    assert handshake(client, ServerContexts(authority).get("a.example", ()), "a.example").version() == "TLSv1.3"


def test_one_context_for_each_host_and_alpn(authority: Authority) -> None:
    contexts = ServerContexts(authority)
    first = contexts.get("a.example", ("h2",))
    assert contexts.get("a.example", ("h2",)) is first
    assert contexts.get("a.example", ()) is not first
    assert contexts.get("b.example", ("h2",)) is not first


def test_the_least_recently_used_goes_first(authority: Authority) -> None:
    contexts = ServerContexts(authority, Limits(contexts=2))
    a, b = contexts.get("a", ()), contexts.get("b", ())
    assert contexts.get("a", ()) is a
    contexts.get("c", ())
    assert contexts.get("a", ()) is a
    assert contexts.get("b", ()) is not b


def test_a_bad_host_leaves_nothing_behind(authority: Authority) -> None:
    contexts = ServerContexts(authority, Limits(contexts=1))
    kept = contexts.get("a", ())
    with pytest.raises(ValueError, match="is not a host"):
        contexts.get("*", ())
    assert contexts.get("a", ()) is kept


def test_a_context_is_renewed_before_its_leaf_expires(authority: Authority) -> None:
    now = [datetime.now(UTC).timestamp()]
    contexts = ServerContexts(authority, now=lambda: now[0])
    first = contexts.get("a", ())
    now[0] += timedelta(days=30).total_seconds()
    assert contexts.get("a", ()) is first
    now[0] += timedelta(days=40).total_seconds()
    assert contexts.get("a", ()) is not first


def test_all_leaves_of_a_process_share_one_key(authority: Authority) -> None:
    contexts = ServerContexts(authority)
    client = trusting(authority)
    ders = [handshake(client, contexts.get(host, ()), host).getpeercert(True) for host in ("a.example", "b.example")]
    first, second = (x509.load_der_x509_certificate(der) for der in ders if der)
    assert first.public_key() == second.public_key()


@pytest.mark.parametrize("memory", [True, False])
def test_the_leaf_key_never_stays_on_disk(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memfd")
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    server = ServerContexts(authority).get("a.example", ())
    assert list(tmp_path.iterdir()) == []
    assert handshake(trusting(authority), server, "a.example").version() == "TLSv1.3"
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_temporary_file_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with module._temporary(b"secret") as path:
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert Path(path).read_bytes() == b"secret"
    assert not os.path.exists(path)


# Towards servers


@pytest.fixture(scope="session")
def bench() -> trustme.CA:
    """The CA of a test bench."""
    return trustme.CA()


@pytest.fixture
def bench_pem(bench: trustme.CA, tmp_path: Path) -> Path:
    bench.cert_pem.write_to_path(str(tmp_path / "bench.pem"))
    return tmp_path / "bench.pem"


def server_of(bench: trustme.CA, *hosts: str) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bench.issue_cert(*hosts).configure_cert(server)
    return server


def test_a_ca_is_trusted_besides_the_systems(bench: trustme.CA, bench_pem: Path) -> None:
    contexts = ClientContexts()
    system, both = contexts.get(), contexts.get(ca=(bench_pem,))
    assert handshake(both, server_of(bench, "a.example"), "a.example")
    assert both.cert_store_stats()["x509"] == system.cert_store_stats()["x509"] + 1
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(system, server_of(bench, "a.example"), "a.example")


def test_the_host_is_verified(bench: trustme.CA, bench_pem: Path) -> None:
    context = ClientContexts().get(ca=(bench_pem,))
    assert handshake(context, server_of(bench, "127.0.0.1"), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(context, server_of(bench, "a.example"), "b.example")


def test_without_verification_anything_goes() -> None:
    context = ClientContexts().get(verify=False)
    assert handshake(context, server_of(trustme.CA(), "a.example"), "b.example")
    assert context.cert_store_stats()["x509"] == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("verify", [True, False])
def test_servers_before_1_2_are_refused(bench: trustme.CA, bench_pem: Path, verify: bool) -> None:
    server = server_of(bench, "a.example")
    server.minimum_version = ssl.TLSVersion.TLSv1
    server.maximum_version = ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"):
        handshake(ClientContexts().get(verify=verify, ca=(bench_pem,)), server, "a.example")


def test_strict_unless_a_ca_is_named(bench_pem: Path) -> None:
    contexts = ClientContexts()
    assert contexts.get().verify_flags & ssl.VERIFY_X509_STRICT
    assert not contexts.get(ca=(bench_pem,)).verify_flags & ssl.VERIFY_X509_STRICT


OPENSSL = (
    # The one-liners of blogs and wikis: no key usage, and the server's certificate without key identifiers.
    "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Bench",
    "openssl req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=a.example",
    "openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out cert.pem -extfile san.cnf",
    "openssl req -x509 -newkey rsa:2048 -nodes -keyout self.key -out self.pem -days 30 -subj /CN=a.example"
    " -addext subjectAltName=DNS:a.example",
)


def test_cas_made_by_openssl_one_liners(tmp_path: Path) -> None:
    (tmp_path / "san.cnf").write_text("subjectAltName=DNS:a.example\n")
    try:
        for line in OPENSSL:
            subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
    for cert, key, ca in (("cert.pem", "key.pem", "ca.pem"), ("self.pem", "self.key", "self.pem")):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(tmp_path / cert, tmp_path / key)
        assert handshake(ClientContexts().get(ca=(tmp_path / ca,)), server, "a.example")


def test_an_intermediate_alone_can_be_trusted(bench: trustme.CA, tmp_path: Path) -> None:
    intermediate = bench.create_child_ca()
    intermediate.cert_pem.write_to_path(str(tmp_path / "i.pem"))
    context = ClientContexts().get(ca=(tmp_path / "i.pem",))
    assert handshake(context, server_of(intermediate, "a.example"), "a.example")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate(bench: trustme.CA, bench_pem: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    server = server_of(bench, "a.example")
    bench.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    server.maximum_version = version
    bench.issue_cert("me@a.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    contexts = ClientContexts()
    assert handshake(contexts.get(ca=(bench_pem,), client_cert=ClientCert(tmp_path / "me.pem")), server, "a.example")
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(contexts.get(ca=(bench_pem,)), server, "a.example")


def test_one_context_for_each_setting(bench_pem: Path) -> None:
    contexts = ClientContexts()
    first = contexts.get(ca=(bench_pem,), alpn=("h2",))
    assert contexts.get(ca=(bench_pem,), alpn=("h2",)) is first
    others = [
        contexts.get(alpn=("h2",)),
        contexts.get(ca=(bench_pem,)),
        contexts.get(ca=(bench_pem,), alpn=("h2",), verify=False),
    ]
    assert first not in others
    assert len(set(others)) == 3


def test_a_changed_file_is_read_again(bench: trustme.CA, bench_pem: Path) -> None:
    contexts = ClientContexts()
    first = contexts.get(ca=(bench_pem,))
    bench_pem.write_bytes(bench_pem.read_bytes() + trustme.CA().cert_pem.bytes())
    second = contexts.get(ca=(bench_pem,))
    assert second is not first
    assert second.cert_store_stats()["x509"] == first.cert_store_stats()["x509"] + 1


def test_only_so_many_are_kept(bench_pem: Path) -> None:
    contexts = ClientContexts(Limits(trusts=2))
    first = contexts.get(verify=False)
    contexts.get(verify=False, alpn=("a",))
    assert contexts.get(verify=False) is first
    contexts.get(verify=False, alpn=("b",))
    assert contexts.get(verify=False) is first
    assert len(contexts._kept) == 2


def files(folder: Path, bench: trustme.CA) -> dict[str, Path]:
    leaf, other = bench.issue_cert("a"), bench.issue_cert("b")
    secret = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    contents = {
        "text": b"hello",
        "empty": b"",
        "certificate": leaf.cert_chain_pems[0].bytes(),
        "key": leaf.private_key_pem.bytes(),
        "mismatch": leaf.cert_chain_pems[0].bytes() + other.private_key_pem.bytes(),
        "encrypted": leaf.cert_chain_pems[0].bytes() + secret,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    return {name: folder / name for name in [*contents, "folder", "missing"]}


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("ca", "missing", "cannot read .*missing: No such file"),
        ("ca", "text", "has no certificate in PEM"),
        ("ca", "empty", "has no certificate in PEM"),
        ("ca", "key", "has no certificate in PEM"),
        ("ca", "folder", "cannot read .*folder|has no certificate"),
        ("client_cert", "missing", "cannot read .*missing: No such file"),
        ("client_cert", "text", "is not a client certificate"),
        ("client_cert", "certificate", "is not a client certificate"),
        ("client_cert", "key", "is not a client certificate"),
        ("client_cert", "mismatch", "does not belong to its certificate"),
        ("client_cert", "encrypted", "is encrypted"),
    ],
)
def test_a_bad_file_is_one_clear_line(bench: trustme.CA, tmp_path: Path, option: str, name: str, words: str) -> None:
    path = files(tmp_path, bench)[name]
    contexts = ClientContexts()
    ca, client_cert = ((path,), None) if option == "ca" else ((), ClientCert(path))
    with pytest.raises(ContextError, match=words) as caught:
        contexts.get(ca=ca, client_cert=client_cert, verify=bool(ca))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not contexts._kept


def test_a_system_without_a_trust_store_uses_certifi(tmp_path: Path) -> None:
    """OpenSSL reads these variables once for all, so it takes another process."""
    certifi = pytest.importorskip("certifi")
    expected = Path(certifi.where()).read_text().count("BEGIN CERTIFICATE")
    script = "from rulesproxy.tls.context import *; print(ClientContexts().get().cert_store_stats()['x509'])"
    nowhere = {"SSL_CERT_FILE": str(tmp_path / "none.pem"), "SSL_CERT_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | nowhere, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == expected
