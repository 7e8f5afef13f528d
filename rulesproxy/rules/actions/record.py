"""The action `record`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rulesproxy.flow.http import HTTPFlow
from rulesproxy.flow.plan import Record as Recorded
from rulesproxy.rules.action import REQUEST, RESPONSE, Action, Captures, Example, Handler
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.reading.amounts import Size
from rulesproxy.rules.schema import Reader

_LIMIT = Size(1024 * 1024, "1MiB")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that will be written: in a folder that is there, and no folder itself."""

    path: Path

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What the key accepts, for editors."""
        return {"type": "string", "description": "a file, relative to the rule file"}

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> NewFile:
        """The file that a scalar names.

        Raises:
            Bad: it cannot be written there; its diagnostic has been recorded.
        """
        scalar = reader.scalar(node, name, "a file")
        path = reader.folder / scalar.text
        if path.is_dir():
            reader.fail("RP603", scalar, f"{name} `{scalar.text}` is a folder, a file is wanted here")
        if not path.parent.is_dir():
            reader.fail(
                "RP601", scalar, f"{name} `{scalar.text}`: the folder `{path.parent}` does not exist",
                "make the folder; the path is relative to the rule file",
            )  # fmt: skip
        return cls(path.resolve())


@dataclass(frozen=True, slots=True)
class Record(Action):
    """Write the exchange to a HAR file when it is over, for the developer tools of browsers and for other programs.

    The file is whole at every moment, also when the proxy is killed or the disk is full; then recording stops with a
    warning, and traffic goes on. Bodies over the limits of the proxy, and event streams, pass without being kept.

    Attributes:
        file: the file, relative to the rule file.
        append: `false` begins the file anew when the proxy starts to write it; otherwise what is in it stays.
        bodies: `false` leaves bodies out, so that they need not be kept in memory.
        body_limit: how many bytes of a body are written; the rest is cut off.
        secrets: `mask` writes `***` for credentials (`Authorization`, `Proxy-Authorization`), for the values of
            cookies, and for values that rules take from `${env:…}`; `keep` writes them.
    """

    key: ClassVar = "record"
    events: ClassVar = REQUEST | RESPONSE
    short: ClassVar = "file"
    synonyms: ClassVar = {"path": "file", "har": "file", "to": "file", "body": "bodies", "limit": "body-limit"}

    file: NewFile
    append: bool = True
    bodies: bool = True
    body_limit: Size = _LIMIT
    secrets: Literal["mask", "keep"] = "mask"

    examples: ClassVar = (
        Example("match: path under '/api'\nrecord: api.har", "GET http://a.test/api/1", "GET http://a.test/api/1"),
        Example(
            "match: response.status >= 500\nrecord:\n  file: failures.har\n  bodies: false",
            "GET http://a.test/", "503", response="503",
        ),
    )  # fmt: skip

    @property
    def shares(self) -> tuple[str, str] | None:
        return "RP853", f"`record` writes {self.file.path.name}"

    def bind(self) -> Handler:
        record = Recorded(
            self.file.path, self.append, self.bodies, self.body_limit.bytes, keep_secrets=self.secrets == "keep"
        )

        def write(flow: HTTPFlow, captures: Captures) -> None:
            plan = flow.plan
            if record not in plan.records:
                plan.records.append(record)
            plan.keep_bodies = plan.keep_bodies or record.bodies

        return write
