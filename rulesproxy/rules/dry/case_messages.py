"""The messages in a test of a conversation: those that are sent, and those that are expected to arrive.

They are read here, and what is expected is compared here with what arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from rulesproxy.diagnostics import Span
from rulesproxy.flow.connection import ClientConn, ServerConn
from rulesproxy.flow.tcp import TCPFlow
from rulesproxy.flow.url import split_authority
from rulesproxy.flow.websocket import may_close_with
from rulesproxy.rules.dry.expected import NOTED, Difference, JSONSubset, cut
from rulesproxy.rules.files import nodes
from rulesproxy.rules.files.nodes import Node
from rulesproxy.rules.reading.amounts import Octets
from rulesproxy.rules.reading.fragments import integer
from rulesproxy.rules.schema import Range, Reader

if TYPE_CHECKING:
    # Whoever reads rules needs the forms of tests, and not what runs them.
    from rulesproxy.rules.dry.heard import Arrival, Content, Heard, Said

SideName: TypeAlias = Literal["client", "server"]

_KINDS = ("text", "json", "bytes")


@dataclass(frozen=True, slots=True)
class Target:
    """A raw TCP connection: `HOST:PORT`, or a mapping.

    Attributes:
        address: where the client connects to, as `HOST:PORT`.
        client: the address of the client.
    """

    synonyms: ClassVar = {"server": "address", "host": "address", "to": "address", "ip": "client"}

    address: str
    client: str = "127.0.0.1"
    _place: tuple[str, int] = ("", 0)

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Target:
        if isinstance(node, nodes.Mapping):
            target, at = reader.record(cls, node, name), node.get("address") or node
            client_address(target.client, node.get("client") or node, reader)
        else:
            target, at = cls(reader.scalar(node, name, "host and port").text), node
        try:
            host, port = split_authority(target.address, 0)
        except ValueError as error:
            reader.fail("RP904", at, str(error).replace("'", "`"), "write host and port, such as redis.test:6379")
        if not port:
            reader.fail("RP904", at, f"`{target.address}` has no port", "write host and port, such as redis.test:6379")
        return replace(target, _place=(host, port))

    def flow(self) -> TCPFlow:
        """A connection that is about to begin."""
        client = ClientConn((self.client, 0), mode="tcp")
        return TCPFlow(client, ServerConn(self._place))

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        about = "A raw TCP connection: host and port, or a mapping."
        return {"description": about, "anyOf": [{"type": "string"}, record_schema(cls)]}


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that is sent.

    Attributes:
        from_: who sends it: `client` or `server`.
        text: what it says, as text.
        json: what it says, as JSON, written in YAML.
        bytes: what it says, in hexadecimal digits, such as `00 ff`: a binary message of a WebSocket.
    """

    synonyms: ClassVar = {"by": "from", "side": "from", "sender": "from", "body": "text", "data": "text"}
    needs: ClassVar = _KINDS

    from_: SideName
    text: str | None = None
    json: JSONSubset | None = None
    bytes: Octets | None = None
    _span: Span | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> SentMessage:
        message = reader.record(cls, reader.mapping(node, "a message", "`{from: server, text: hello}`"), "a message")
        _check_kind(message, node, reader)
        return replace(message, _span=node.span)

    @property
    def span(self) -> Span:
        """Where it stands."""
        assert self._span is not None
        return self._span

    @property
    def said(self) -> Said:
        """It as a dry run takes it."""
        return self.from_ == "client", _content(self)

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What it accepts, for editors."""
        from rulesproxy.rules.reading.json_schema import record_schema

        return record_schema(cls)


@dataclass(frozen=True, slots=True)
class ExpectedMessage:
    """A message that arrives.

    Attributes:
        to: who gets it: `client` or `server`.
        text: what it says, as text.
        json: what it holds, as JSON: members that are not named may be there too. Not of raw TCP.
        bytes: what it says, in hexadecimal digits, such as `00 ff`: a binary message of a WebSocket.
    """

    synonyms: ClassVar = {"side": "to", "receiver": "to", "body": "text", "data": "text"}
    needs: ClassVar = _KINDS

    to: SideName
    text: str | None = None
    json: JSONSubset | None = None
    bytes: Octets | None = None
    _span: Span | None = None

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> ExpectedMessage:
        example = "`{to: client, text: hello}`"
        message = reader.record(cls, reader.mapping(node, "a message", example), "a message")
        _check_kind(message, node, reader)
        return replace(message, _span=node.span)

    @property
    def span(self) -> Span:
        """Where it stands."""
        assert self._span is not None
        return self._span

    @property
    def to_client(self) -> bool:
        """Whether the client gets it."""
        return self.to == "client"

    def compare(self, arrived: Arrival, number: int) -> Iterator[Difference]:
        """What is different about a message that arrived in its place, as so many of a WebSocket."""
        content = arrived.content
        if arrived.to_client is not self.to_client:
            yield Difference(self.span, f"message {number} goes to the {_side(arrived)}: {_shown(content)}")
        elif self.json is not None:
            data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            yield from self.json.compare(data, "message")
        elif content != _content(self):
            yield Difference(self.span, f"the {_side(arrived)} gets {_shown(content)}")

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What it accepts, for editors."""
        from rulesproxy.rules.reading.json_schema import record_schema

        return record_schema(cls)


@dataclass(frozen=True, slots=True)
class MessageList:
    """All messages that arrive, in order; `none` where none does."""

    messages: tuple[ExpectedMessage, ...]
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> MessageList:
        if isinstance(node, nodes.Scalar) and node.text == "none":
            return cls((), node.span)
        return cls(reader.value(tuple[ExpectedMessage, ...], node, name), node.span)

    def compare(self, heard: Heard) -> Iterator[Difference]:
        """What is different about what has arrived."""
        tcp = isinstance(heard.flow, TCPFlow)
        found = list(self._compare_bytes(heard.arrived) if tcp else self._compare(heard.arrived))
        if found:
            # What comes behind the first one that is different is most often only moved.
            each = [f"to the {_side(one)} {_shown(one.content, tcp)}" for one in heard.arrived]
            note = f"what arrives: {cut(', '.join(each) or 'nothing', NOTED)}"
            found[0] = found[0]._replace(notes=(*found[0].notes, note))
        yield from found

    def _compare(self, arrived: Sequence[Arrival]) -> Iterator[Difference]:
        for number, message in enumerate(self.messages, 1):
            if number > len(arrived):
                yield Difference(message.span, "no such message arrives" if arrived else "no message arrives")
                return
            found = list(message.compare(arrived[number - 1], number))
            if found:
                yield from found
                return
        for extra in arrived[len(self.messages) :][:1]:
            yield Difference(self.span, f"one more arrives: the {_side(extra)} gets {_shown(extra.content)}")

    def _compare_bytes(self, arrived: Sequence[Arrival]) -> Iterator[Difference]:
        """The same for raw TCP: what goes to one side in a row is one, however it is cut."""
        left = _runs(arrived)
        for message in self.messages:
            wanted = _bytes(_content(message))
            if not left:
                yield Difference(message.span, "nothing more arrives" if arrived else "nothing arrives")
                return
            first, data = left[0], _bytes(left[0].content)
            if first.to_client is not message.to_client or not data.startswith(wanted):
                yield Difference(message.span, f"the {_side(first)} gets {_shown(data, True)}")
                return
            left[:1] = [first._replace(content=data[len(wanted) :])] if data != wanted else []
        for extra in left[:1]:
            yield Difference(self.span, f"more arrives: the {_side(extra)} gets {_shown(extra.content, True)}")

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        from rulesproxy.rules.reading.json_schema import record_schema

        one = record_schema(ExpectedMessage)
        about = "All messages that arrive, in order; `none` where none does."
        return {"description": about, "anyOf": [{"type": "array", "items": one}, one, {"enum": ["none"]}]}


@dataclass(frozen=True, slots=True)
class Code:
    """The code with which a rule closes a WebSocket."""

    value: int
    span: Span

    @classmethod
    def read(cls, node: Node, reader: Reader, name: str) -> Code:
        code = reader.integer(node, name, Range(1000, 4999))
        if not may_close_with(code):
            help = "codes are 1000 to 1003, 1007 to 1014 and, for applications, 3000 to 4999"
            reader.fail("RP680", node, f"a WebSocket cannot be closed with code {code}", help)
        return cls(code, node.span)

    def compare(self, heard: Heard) -> Iterator[Difference]:
        """What is different about the end of a conversation."""
        if heard.close != self.value:
            yield Difference(self.span, how_it_ends(heard))

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        return integer(1000, 4999)


def how_it_ends(heard: Heard) -> str:
    """How a conversation ends, in words."""
    if heard.close is not None:
        return f"a rule closes it with {heard.close}"
    return f"a rule ends it ({heard.end})" if heard.end is not None else "no rule ends it"


def _check_kind(message: SentMessage | ExpectedMessage, node: Node, reader: Reader) -> None:
    assert isinstance(node, nodes.Mapping)
    given = [key for key in _KINDS if node.key(key) is not None]
    if not given:
        reader.fail("RP905", node, "this message says nothing", "add `text: …`, `json: …` or `bytes: …`")
    if len(given) > 1:
        second = node.key(given[1])
        assert second is not None
        title = f"`{given[0]}` and `{given[1]}` both are what the message says"
        reader.fail("RP607", second, title, "keep one of them")
    try:
        (message.text or "").encode()
    except UnicodeEncodeError:
        reader.fail("RP904", node.get("text") or node, "this text has no form in UTF-8", "write `bytes: …`")


def _content(message: SentMessage | ExpectedMessage) -> Content:
    if message.bytes is not None:
        return message.bytes.data
    if message.json is not None:
        return message.json.encoded().decode("utf-8", "surrogateescape")
    return message.text or ""


def client_address(address: str, node: Node, reader: Reader) -> None:
    """Check the address of a client."""
    try:
        ip_address(address)
    except ValueError:
        reader.fail("RP904", node, f"`{address}` is no IP address", "such as 10.0.0.5")


def _side(arrived: Arrival) -> SideName:
    return "client" if arrived.to_client else "server"


def _shown(content: Content, tcp: bool = False) -> str:
    """A message in one line. Bytes of TCP may well be text."""
    if tcp and isinstance(content, bytes):
        text = content.decode("utf-8", "replace")
        content = text if text.isprintable() and "\ufffd" not in text else content
    return f"`{cut(content)}`" if isinstance(content, str) else f"bytes {cut(content.hex(' '))}"


def _runs(arrived: Sequence[Arrival]) -> list[Arrival]:
    """What goes to one side in a row, as one."""
    found: list[Arrival] = []
    for each in arrived:
        before = _bytes(found.pop().content) if found and found[-1].to_client is each.to_client else b""
        found.append(each._replace(content=before + _bytes(each.content)))
    return found


def _bytes(content: Content) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
