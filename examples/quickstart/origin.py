"""The server of this example: HTTP and HTTPS on two free ports, answering with what it was asked.

`python origin.py FOLDER` writes the certificate of its own test CA to FOLDER/origin-ca.pem, then both ports to
FOLDER/ports, and serves until it is ended.
"""

from __future__ import annotations

import json
import ssl
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Echo(BaseHTTPRequestHandler):
    """Answers every GET with its path, two of its headers and a price."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = {name: self.headers.get(name) for name in ("x-debug", "cookie")}
        body = json.dumps({"path": self.path, **seen, "price": "10 EUR"}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent: the answers are what the example shows."""


def main(folder: Path) -> None:
    """Serve until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificates(folder))
    plain, secure = (ThreadingHTTPServer(("127.0.0.1", 0), Echo) for _ in range(2))
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    draft = folder / "ports.draft"
    draft.write_text(f"{plain.server_port} {secure.server_port}\n")
    draft.replace(folder / "ports")
    Thread(target=plain.serve_forever, daemon=True).start()
    secure.serve_forever()


def make_certificates(folder: Path) -> Path:
    """Make a CA and a certificate for localhost that it has signed; the file with that certificate and its key."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Quickstart CA", "localhost")
    )
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = dict.fromkeys(("digital_signature", "key_cert_sign", "crl_sign"), True)
    unused = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    )
    ca = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(unused, False)), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(name, ca_name, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "origin-ca.pem").write_bytes(ca.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = folder / "origin.pem"
    chain.write_bytes(leaf.public_bytes(pem) + secret)
    return chain


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
