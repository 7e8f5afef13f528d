"""YAML text becomes nodes, or the diagnostics of what is no YAML that rule files may have.

It knows YAML's syntax and the limits on it. Nodes are made from the parser's events, never by the composer of the
library: events need no recursion, so hostile nesting is refused before it costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, Protocol, cast

from rulesproxy.diagnostics import Diagnostic, DiagnosticError, Label, Source
from rulesproxy.rules.files.nodes import File, Mapping, Node, Scalar, Sequence

MAX_CHARACTERS = 1024 * 1024
"""A rule file. Larger ones are generated, and belong into lists."""
MAX_DEPTH = 32
"""Nesting of collections. The deepest legal rule file needs about ten."""
MAX_ALIASED = 10_000
"""Nodes that aliases may add: the answer to files that grow when they are read."""


class NodeError(DiagnosticError):
    """A file that is no acceptable YAML."""


def read_nodes(source: Source) -> Node:
    """The nodes of one YAML document.

    Raises:
        NodeError: bad YAML, over a limit, or a construct that rule files do not have (tags, merge keys, duplicates).
    """
    from rulesproxy.rules.files.traps import explain_error

    file = File(source)
    if len(source.text) > MAX_CHARACTERS:
        raise NodeError(
            [_problem(file, 0, 1, "RP006", "this file is over 1 MiB", "split it, or move its data to list files")]
        )
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(file)
    try:
        return builder.build(cast("Iterator[_Event]", yaml.parse(source.text, Loader=loader)))
    except yaml.YAMLError as error:
        raise NodeError([*builder.problems, explain_error(file, error)]) from None
    except UnicodeEncodeError as error:
        title = "half a surrogate pair is no character"
        raise NodeError([_problem(file, error.start, error.start + 1, "RP002", title, "remove it")]) from None


class _Mark(Protocol):
    index: int


class _Event(Protocol):
    """An event of the parser. Which of the attributes it has depends on its kind."""

    start_mark: _Mark
    end_mark: _Mark
    anchor: str | None
    tag: str | None
    style: str | None
    value: str


class _Builder:
    """Makes nodes from events, with a stack of its own."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.stack: list[Sequence | Mapping] = []
        self.keys: list[Scalar | None] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.open_anchors: list[tuple[str | None, int]] = []
        self.made = 0
        self.aliased = 0
        self.root: Node | None = None
        self.problems: list[Diagnostic] = []

    def build(self, events: Iterator[_Event]) -> Node:
        import yaml

        documents = 0
        for event in events:
            kind: object = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close(event)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._stop(
                        event,
                        "RP009",
                        "a second document starts here",
                        "use one file per document; `---` is not needed",
                    )
        if self.problems:
            raise NodeError(self.problems)
        return self.root or Scalar(self.file, "", "", 0, 0, False)

    def _scalar(self, event: _Event) -> None:
        start = event.start_mark.index
        self.made += 1
        if event.tag is not None or event.anchor is not None:
            self._prefixed(event)
            # The node begins at its tag or anchor; its text is what stands before its end.
            if not event.style:
                start = event.end_mark.index - len(event.value)
        scalar = Scalar(self.file, event.value, event.style or "", start, event.end_mark.index, self._in_flow())
        if event.anchor is not None:
            self.anchors[event.anchor] = (scalar, 1)
        self._add(scalar)

    def _open(self, event: _Event, mapping: bool) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, "RP006", f"nested deeper than {MAX_DEPTH} levels", "a rule file needs about ten levels")
        if event.tag is not None or event.anchor is not None:
            self._prefixed(event)
        node: Sequence | Mapping
        start = event.start_mark.index
        flow = self.file.source.text[start : start + 1] in ("{", "[")
        node = Mapping(self.file, start, flow) if mapping else Sequence(self.file, start, flow)
        self.made += 1
        self._add(node)
        self.stack.append(node)
        self.keys.append(None)
        self.open_anchors.append((event.anchor, self.made))

    def _close(self, event: _Event) -> None:
        node = self.stack.pop()
        self.keys.pop()
        node.end = event.end_mark.index
        anchor, before = self.open_anchors.pop()
        if anchor is not None:
            self.anchors[anchor] = (node, self.made - before + 1)

    def _alias(self, event: _Event) -> None:
        from rulesproxy.rules.files.traps import QUOTE, starts_filter

        if starts_filter(self._key()):
            self._note(
                event,
                "RP014",
                "YAML reads a filter that starts with `*` as an alias",
                QUOTE,
            )
            self._add(Scalar(self.file, "", "", event.start_mark.index, event.end_mark.index, False))
            return
        found = self.anchors.get(event.anchor or "")
        if found is None:
            self._stop(
                event, "RP006", f"the alias `*{event.anchor}` has no complete anchor above it", "write the value out"
            )
        node, size = found
        self.aliased += size
        # An alias inside an anchored collection makes that collection larger too.
        self.made += size
        if self.aliased > MAX_ALIASED:
            self._stop(
                event,
                "RP006",
                f"aliases make this file grow by more than {MAX_ALIASED:,} values",
                "write the values out",
            )
        self._add(node)

    def _prefixed(self, event: _Event) -> None:
        """A tag or an anchor stands before a value: tags are refused, and both may be the start of a filter."""
        from rulesproxy.rules.files.traps import prefixed_filter

        trap = prefixed_filter(self.file, self._key(), event.start_mark.index, event.tag is not None)
        if trap is not None:
            self.problems.append(trap)
        elif event.tag is not None and event.tag != "!":
            name = event.tag if event.tag.startswith("!") else "!!" + event.tag.removeprefix("tag:yaml.org,2002:")
            self._note(
                event,
                "RP007",
                f"the tag `{name}` is not supported",
                "write `- include: FILE` in the list of rules"
                if name.startswith("!include")
                else "remove it: values are read by the place they stand in",
                len(name),
            )

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if type(parent) is Sequence:
            parent.items.append(node)
            return
        assert type(parent) is Mapping
        key = self.keys[-1]
        if key is not None:
            self.keys[-1] = None
            parent.add(key, node)
        elif type(node) is Scalar:
            self._key_of(parent, node)
            self.keys[-1] = node
        else:
            self._stop_at(node, "RP004", "a key must be plain text", "quote the value if it starts with `{` or `[`")

    def _key_of(self, parent: Mapping, key: Scalar) -> None:
        if key.text == "<<" and key.plain:
            self.problems.append(
                Diagnostic(
                    "RP008",
                    "error",
                    "merge keys are not supported",
                    key.span,
                    help="write the keys out, in the order in which they count",
                )
            )
        if not key.text[:1].isascii():
            from rulesproxy.rules.files.traps import odd_blank

            trap = odd_blank(key)
            if trap is not None:
                self.problems.append(trap)
        first = parent.key(key.text)
        if first is not None:
            self.problems.append(
                Diagnostic(
                    "RP005",
                    "error",
                    f"`{key.text}` is given twice here",
                    key.span,
                    help="keep one of them; YAML alone would silently keep only the second",
                    label="given again",
                    labels=(Label(first.span, "first given here"),),
                )
            )

    def _key(self) -> Scalar | None:
        return self.keys[-1] if self.keys else None

    def _in_flow(self) -> bool:
        return bool(self.stack) and self.stack[-1].flow

    def _note(self, event: _Event, code: str, title: str, help: str, length: int | None = None) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        self.problems.append(_problem(self.file, start, end if length is None else start + length, code, title, help))

    def _stop(self, event: _Event, code: str, title: str, help: str) -> NoReturn:
        start = event.start_mark.index
        raise NodeError(
            [*self.problems, _problem(self.file, start, max(start + 1, event.end_mark.index), code, title, help)]
        )

    def _stop_at(self, node: Node, code: str, title: str, help: str) -> NoReturn:
        raise NodeError([*self.problems, _problem(self.file, node.start, node.start + 1, code, title, help)])


def _problem(file: File, start: int, end: int, code: str, title: str, help: str) -> Diagnostic:
    return Diagnostic(code, "error", title, file.span(start, end), help=help)
