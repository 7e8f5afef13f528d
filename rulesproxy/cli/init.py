"""`rulesproxy init`: a project to start from, with rules that work, a test, and completion in editors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

RULES = """\
# yaml-language-server: $schema=rules.schema.json
#
# Rules run from top to bottom, and every matching rule applies, until one answers.
#
#   rulesproxy check        every mistake, and what the rules will do
#   rulesproxy test         the tests at the end of this file
#   rulesproxy run          the proxy; it loads this file again whenever it is saved
version: 1

vars:
  api: api.example.com

rules:
  # Refused without being decrypted: this needs no more than the host.
  - id: no-trackers
    match: host under "tracker.example"
    block:

  # Answered from a file. The server is not asked.
  - id: mock-me
    match: host == $api and method == GET and path == "/v1/me"
    map-local: mocks/me.json

  # What the filter captures in braces is a value in the answer.
  - id: mock-user
    match: host == $api and method == GET and path like "/v1/users/{id}"
    respond:
      json:
        id: ${id | int}
        name: Test user

  # The request goes to the server with another path and one more header.
  - id: v1-to-v2
    match: host == $api and path ~ r"^/v1/(?P<rest>.*)"
    rewrite:
      request:
        path: /v2/${rest}
        headers:
          x-debug: "1"

tests:
  - name: users are never asked of the server
    request: GET https://api.example.com/v1/users/7
    expect:
      rules: [mock-user]
      status: 200
      json: { id: 7 }
      upstream: none

  - name: other requests go to the next version
    request: GET https://api.example.com/v1/orders
    expect:
      rules: [v1-to-v2]
      upstream:
        url: https://api.example.com/v2/orders

  - name: nothing happens to other hosts
    request: GET https://www.example.com/v1/me
    expect:
      rules: none

  - name: trackers are refused
    request: GET https://a.tracker.example/pixel
    expect:
      rules: [no-trackers]
      status: 403
      upstream: none

  - name: me comes from a file
    request: GET https://api.example.com/v1/me
    expect:
      rules: [mock-me]
      json: { name: Ann }
"""
ME = '{"id": 1, "name": "Ann"}\n'
SCHEMA = "rules.schema.json"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init",
        help="make a project to start from",
        description="Make a project to start from: a rule file that works, with tests, a mock, and the schema for"
        " editors. Files that are there stay as they are. Exit status: 0, 1 a file cannot be written.",
    )
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where (default: here)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files; the exit code."""
    from rulesproxy.resources import grammar

    folder = Path(args.folder)
    files = {"rules.yaml": RULES, "mocks/me.json": ME, SCHEMA: grammar(SCHEMA).read_text("utf-8")}
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Nothing of the user's is ever overwritten.
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            print(f"{path} is there already, and stays as it is")
        except OSError as error:
            print(f"rulesproxy: cannot write {path}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
            return 1
        else:
            print(f"wrote {path}")
    rules = folder / "rules.yaml"
    print(f"\nNext: rulesproxy check {rules}, rulesproxy test {rules}, rulesproxy run {rules}.")
    print(f"After an upgrade: rulesproxy schema > {folder / SCHEMA}")
    return 0
