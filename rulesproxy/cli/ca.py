"""`rulesproxy ca`: show the certificate authority, and hand its certificate out.

A CA that does not exist yet is made, so that it can be trusted before the first run. The key is never shown.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from rulesproxy.cli import fail

if TYPE_CHECKING:
    from rulesproxy.tls.authority import Authority


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "ca",
        help="show or export the certificate authority that clients must trust",
        description="The certificate authority that signs the certificates of intercepted hosts. It is in the"
        " platform's data directory, or in $RULESPROXY_HOME, and made where there is none.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    show = commands.add_parser("show", help="print its name, its fingerprint and how long it is valid")
    show.set_defaults(run=run, action=_show)
    path = commands.add_parser("path", help="print the path of its certificate, for --cacert and the like")
    path.set_defaults(run=run, action=_path)
    export = commands.add_parser("export", help="write its certificate to a file or to standard output")
    export.add_argument("--format", choices=("pem", "der"), default="pem", help="pem (default), or der for Android")
    export.add_argument("file", nargs="?", default="-", metavar="FILE", help="where to; - is standard output (default)")
    export.set_defaults(run=run, action=_export)


def run(args: argparse.Namespace) -> int:
    """Load or make the CA and do what was asked: 0, or 1 after one line on standard error."""
    from rulesproxy.tls.authority import Authority, AuthorityError, state_dir

    try:
        authority = Authority.load_or_create(state_dir())
    except AuthorityError as error:
        return fail(str(error), 1)
    if authority.created:
        print(f"made a new CA: {authority.cert_path}", file=sys.stderr)
    result: int = args.action(authority, args)
    return result


def _show(authority: Authority, args: argparse.Namespace) -> int:
    certificate = authority.certificate
    rows = (
        ("certificate", str(authority.cert_path)),
        ("subject", certificate.subject.rfc4514_string()),
        ("sha-256", authority.fingerprint()),
        ("valid from", f"{certificate.not_valid_before_utc:%Y-%m-%d}"),
        ("valid until", f"{certificate.not_valid_after_utc:%Y-%m-%d}"),
    )
    for name, value in rows:
        print(f"{name:<12} {value}")
    return 0


def _path(authority: Authority, args: argparse.Namespace) -> int:
    print(authority.cert_path)
    return 0


def _export(authority: Authority, args: argparse.Namespace) -> int:
    from cryptography.hazmat.primitives.serialization import Encoding

    data = authority.certificate.public_bytes(Encoding.DER if args.format == "der" else Encoding.PEM)
    if args.file == "-":
        if args.format == "der" and sys.stdout.isatty():
            return fail("DER is binary and standard output is a terminal: name a FILE", 1)
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    try:
        with open(args.file, "wb") as file:
            file.write(data)
    except OSError as error:
        return fail(f"cannot write {args.file}: {error.strerror or error}", 1)
    return 0
