"""`rulesproxy ca`: what it prints and writes, and how it fails. The CA is a real one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from rulesproxy.cli import ca
from rulesproxy.tls.authority import Authority


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RULESPROXY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="rulesproxy")
    ca.register(parser.add_subparsers())
    args = parser.parse_args(["ca", *arguments])
    code: int = args.run(args)
    return code


def test_path(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("path") == 0
    out, err = capfd.readouterr()
    assert out == f"{home / 'ca.pem'}\n"
    assert err == f"made a new CA: {home / 'ca.pem'}\n"
    assert run("path") == 0
    assert capfd.readouterr() == (out, "")


def test_show(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    authority = Authority.load_or_create(home)
    assert run("show") == 0
    rows = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.replace("valid ", "valid-").splitlines())
    assert rows == {
        "certificate": str(home / "ca.pem"),
        "subject": authority.certificate.subject.rfc4514_string(),
        "sha-256": authority.fingerprint(),
        "valid-from": authority.certificate.not_valid_before_utc.date().isoformat(),
        "valid-until": authority.certificate.not_valid_after_utc.date().isoformat(),
    }
    assert len(rows["sha-256"]) == 95


@pytest.mark.parametrize("format", ["pem", "der"])
@pytest.mark.parametrize("to_file", [False, True])
def test_export(
    home: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], format: str, to_file: bool
) -> None:
    certificate = Authority.load_or_create(home).certificate
    assert run("export", "--format", format, str(tmp_path / "out") if to_file else "-") == 0
    out = capfdbinary.readouterr().out
    if to_file:
        assert out == b""
        out = (tmp_path / "out").read_bytes()
    assert out == certificate.public_bytes(Encoding.DER if format == "der" else Encoding.PEM)
    assert b"PRIVATE" not in out


def test_export_is_pem_to_standard_output_by_default(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("export") == 0
    assert x509.load_pem_x509_certificate(capfdbinary.readouterr().out) == Authority.load_or_create(home).certificate


def check_fails(capfd: pytest.CaptureFixture[str], words: str, *arguments: str) -> None:
    capfd.readouterr()
    assert run(*arguments) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("rulesproxy: ")
    assert words in err
    assert err.count("\n") == 1


def test_what_cannot_be_written(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Authority.load_or_create(home)
    check_fails(
        capfd, f"cannot write {tmp_path / 'no' / 'file'}: No such file", "export", str(tmp_path / "no" / "file")
    )
    check_fails(capfd, "Is a directory", "export", str(tmp_path))


@pytest.mark.parametrize("command", ["show", "path", "export"])
def test_a_ca_that_cannot_be_used(home: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    Authority.load_or_create(home)
    (home / "ca-key.pem").chmod(0o644)
    check_fails(capfd, "chmod 600", command)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_binary_does_not_go_to_a_terminal(home: Path) -> None:
    ours, theirs = os.openpty()
    script = (
        "import argparse; from rulesproxy.cli import ca\n"
        "p = argparse.ArgumentParser(); ca.register(p.add_subparsers())\n"
        "a = p.parse_args(['ca', 'export', '--format', 'der']); raise SystemExit(a.run(a))"
    )
    try:
        done = subprocess.run([sys.executable, "-c", script], stdout=theirs, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "standard output is a terminal: name a FILE" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["export", "--format", "p12"]])
def test_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage: rulesproxy ca" in capfd.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import argparse, sys; from rulesproxy.cli import ca\n"
        "p = argparse.ArgumentParser(); ca.register(p.add_subparsers()); p.format_help()\n"
        "print(*sorted({'ssl', 'asyncio', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
