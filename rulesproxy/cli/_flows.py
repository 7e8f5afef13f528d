"""What `try` and `explain` have in common: which rules, and which flows, made from arguments or from a recording."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.diagnostics import render

if TYPE_CHECKING:
    import logging

    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.rules.dry.har import Recording
    from rulesproxy.rules.model import Loaded
    from rulesproxy.rules.ruleset import RuleSet

_FORM = "application/x-www-form-urlencoded"
_EXAMPLE = "'GET https://api.example.com/v1'"


class UsageError(Exception):
    """Arguments that make no sense; the message says why."""


class BadRules(Exception):
    """Rule files that cannot be used; what is wrong has been printed.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: int) -> None:
        self.code = code


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name rule files."""
    parser.add_argument(
        "-f", "--rules", action="append", default=[], metavar="FILE", dest="files",
        help="rule file, folder or pack:NAME (may be repeated; default: as `run`)",
    )  # fmt: skip
    parser.add_argument(
        "--profile", action="append", default=[], metavar="NAME", help="switch a profile on (may be repeated)"
    )


def add_request(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that make a request, as curl has them, and the answer of the server."""
    add = parser.add_argument
    add("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header field of the request")
    add("-d", "--data", action="append", metavar="DATA", help="the body of the request; @FILE takes it from a file")
    add("--json", metavar="DATA", help="the same, as JSON")
    add("--client", metavar="IP", help="the address of the client (default: 127.0.0.1)")
    add("--status", type=int, metavar="N", help="the status that the server answers with (default: 200)")
    add("--response-header", action="append", default=[], metavar="'NAME: VALUE'", help="a header field of its answer")
    add("--response-body", metavar="DATA", help="the body of its answer; @FILE takes it from a file")
    add("--error", choices=("refused", "timeout", "tls", "dns", "disconnected"), help="how the server fails instead")


def add_har(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a recording."""
    parser.add_argument("--har", type=Path, metavar="FILE", help="take requests and answers from a HAR file")


def without_files(args: argparse.Namespace, words: list[str], least: int = 1) -> list[str]:
    """What is asked about. Beside it rule files may be named as with other commands; `least` words are none."""
    asked = [word for word in words if not _is_file(word)]
    if len(asked) < least:
        asked = words[:least]
    args.files = [*args.files, *(word for word in words if word not in asked)]
    return asked


def load(args: argparse.Namespace, files: list[str] | None = None) -> RuleSet:
    """The rules that the arguments name, or those that `run` would find.

    Raises:
        UsageError: there are none.
        BadRules: they have mistakes.
    """
    from rulesproxy.rules.ruleset import RuleSet

    loaded = load_files(args, files)
    return RuleSet.of(loaded)


def load_files(args: argparse.Namespace, files: list[str] | None = None) -> Loaded:
    """The same as it was read."""
    from rulesproxy.cli import USAGE
    from rulesproxy.rules import load
    from rulesproxy.rules.files.discover import find_rule_files

    found = find_rule_files(args.files if files is None else files, os.environ, Path.cwd())
    if not found.paths:
        raise UsageError("no rule file: name one with -f, or create rules.yaml here")
    loaded = load.load_files(found.paths, profiles=args.profile)
    if not loaded.ok:
        for diagnostic in loaded.diagnostics:
            if diagnostic.severity == "error":
                print(render(diagnostic) + "\n", file=sys.stderr)
        raise BadRules(USAGE if load.is_absent(loaded.diagnostics) else 1)
    return loaded


def request_of(args: argparse.Namespace, words: list[str]) -> HTTPFlow:
    """The flow that the arguments describe.

    Raises:
        UsageError: they describe none.
    """
    from rulesproxy.flow.headers import is_token
    from rulesproxy.flow.http import HTTPFlow
    from rulesproxy.flow.url import split_url

    line = " ".join(words).split()
    if len(line) == 1:
        line.insert(0, "GET" if args.data is None and args.json is None else "POST")
    if len(line) != 2:
        raise UsageError(f"{' '.join(words)!r} is no request: write method and URL, such as {_EXAMPLE}")
    method, url = line
    try:
        split_url(url)
    except ValueError as error:
        raise UsageError(f"{error}, such as {_EXAMPLE}") from None
    if not is_token(method.encode("utf-8", "surrogateescape")):
        raise UsageError(f"{method!r} is no method, such as {_EXAMPLE}")
    headers = _headers(args.header)
    body = _body(args, headers)
    flow = HTTPFlow.make(method.upper(), url, headers, body)
    if args.client is not None:
        flow.client_conn.address = flow.client_conn.peername = (args.client, 0)
    _answer(args, flow)
    return flow


def recording_of(path: Path) -> Recording:
    """The flows of a HAR file. Entries that cannot be read are left out, with a warning.

    Raises:
        UsageError: it cannot be read, or no entry of it; what is wrong has been printed.
    """
    from rulesproxy.diagnostics import Source
    from rulesproxy.limits import HAR_CHARACTERS
    from rulesproxy.rules.dry.har import HARError, read_har

    try:
        with path.open("rb") as file:
            # No character is longer than four bytes.
            data = file.read(4 * HAR_CHARACTERS + 1)
        recording = read_har(Source(str(path), data.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except HARError as error:
        for diagnostic in error.diagnostics:
            print(f"{render(diagnostic)}\n", file=sys.stderr)
        raise UsageError(f"{path} is no recording that can be used") from None
    for diagnostic in recording.warnings:
        print(f"{render(diagnostic)}\n", file=sys.stderr)
    if more := recording.bad - len(recording.warnings):
        print(f"{path}: {more} more that cannot be read", file=sys.stderr)
    return recording


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """What the action `log` writes meanwhile. Nothing else is logged: failures of rules are in the trace."""
    import logging

    from rulesproxy.engine.log import logger, overheard

    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with overheard() as records:
            yield records
    finally:
        logger.setLevel(level)


def _is_file(word: str) -> bool:
    return word.startswith("pack:") or word.endswith((".yaml", ".yml")) or ("://" not in word and Path(word).exists())


def _headers(texts: list[str]) -> list[tuple[str, str]]:
    from rulesproxy.flow.headers import check_field, to_str

    found = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise UsageError(f"{text!r} is no header field: write 'name: value'")
        try:
            _, raw, content = check_field(name, value)
        except ValueError as error:
            raise UsageError(str(error)) from None
        found.append((to_str(raw), to_str(content)))
    return found


def _body(args: argparse.Namespace, headers: list[tuple[str, str]]) -> bytes:
    """The body, with the content type that curl would send."""
    if args.data is not None and args.json is not None:
        raise UsageError("give the body with -d or with --json, not with both")
    kind = _FORM if args.json is None else "application/json"
    texts = args.data if args.json is None else [args.json]
    if texts is None:
        return b""
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", kind))
    return b"&".join([_content(text) for text in texts])


def _content(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {text[1:]}: {error.strerror or error}") from None


def _answer(args: argparse.Namespace, flow: HTTPFlow) -> None:
    from rulesproxy.flow.error import FlowError
    from rulesproxy.flow.http import HTTPFlow

    if args.error is not None:
        flow.error = FlowError(f"{flow.request.host}: {args.error}", args.error)
        return
    status = 200 if args.status is None else args.status
    if not 200 <= status <= 599:
        raise UsageError(f"{status} is no status of an answer: 200 to 599")
    headers = _headers(args.response_header)
    body = b"" if args.response_body is None else _content(args.response_body)
    made = HTTPFlow.make("GET", "http://server/", status=status, response_headers=headers, response_body=body)
    flow.response = made.response
