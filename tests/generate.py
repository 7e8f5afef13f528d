"""`python -m tests.generate [--write]`: what is made from the registries, compared with what is in the tree, or written.

It makes the tables of the filter reference, the rule reference, the schema and the grammars for editors. Sentences that no
registry holds are here, and a new operator, function or moment without one is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from rulesproxy.filters.fields import FIELDS, OPERATORS, Field, Kind, public_names
from rulesproxy.filters.functions import FUNCTIONS
from rulesproxy.filters.operands import MAX_REGEXES
from rulesproxy.filters.parse import MAX_DEPTH, MAX_LENGTH
from rulesproxy.filters.phases import Phase
from rulesproxy.filters.tilde import TILDE, wants_argument
from rulesproxy.filters.typed import Function
from rulesproxy.rules.reading import file_schema
from tests import rule_reference
from tests.textmate import filter_grammar, injection

GRAMMAR = Path(__file__).resolve().parent.parent / "grammar"

MEANING = {
    "==": "It is this value.",
    "!=": "Not `==`.",
    "<": "It is less.",
    "<=": "It is less, or the same.",
    ">": "It is more.",
    ">=": "It is more, or the same.",
    "in": "It is one of a set: `in {GET POST}`, `in {200..299 304}`, `in {10.0.0.0/8}`, `in $list`.",
    "not in": "Not `in`.",
    "~": 'A regex finds something in it: `path ~ "^/v[12]/"`.',
    "!~": "Not `~`.",
    "~*": "`~`, ignoring case.",
    "!~*": "Not `~*`.",
    "glob": "The whole of it fits a pattern, in which `*` stands for any text, `/` included.",
    "like": 'The whole path fits a pattern of segments: `path like "/users/{id}"` captures `id`.',
    "contains": "The text is a part of it.",
    "startswith": "It starts with the text.",
    "endswith": "It ends with the text.",
    "under": "Of a host: it is this one, or a subdomain. Of a path: it is this one, or below it.",
}
FUNCTION_DOCS = {
    "lower": "The text in lower case.",
    "upper": "The text in upper case.",
    "trim": "The text without blanks at its ends.",
    "len": "The number of characters.",
    "url_decode": "The text with `%xx` decoded, and `+` as a blank.",
    "b64_decode": "What the text is in base64, also its URL form; missing where it is none.",
    "json": 'The value at a path of a JSON text: `json(query["filter"])["id"] == 7`; missing where it is none.',
}
MOMENTS = {
    "C": "a client asks for a connection to a host (`http_connect`)",
    "T": "its ClientHello was read (`clienthello`)",
    "Q": "the request's head (`requestheaders`)",
    "B": "the request's body (`request`)",
    "R": "the response's head (`responseheaders`)",
    "S": "the response's body (`response`)",
    "W": "a WebSocket message",
    "V": "an event of an event stream",
    "X": "bytes of a TCP connection",
    "E": "the flow has failed (`error`)",
}


def tables() -> dict[str, str]:
    """The parts of the filter reference that are made, by the name of their place."""
    return {
        "operators": _operators(),
        "moments": _table(("letter", "moment"), [(f"`{name}`", MOMENTS[name]) for name in _letters(_all_phases())]),
        "fields": _fields(),
        "tilde": _tilde(),
        "functions": _functions(),
        "limits": _limits(),
    }


def outputs() -> dict[Path, str]:
    """Every file that is made, with its contents; of the reference only the tables change."""
    readme = GRAMMAR / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in tables().items():
        place = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.S)
        text, found = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)  # type: ignore[misc]
        assert found == 1, f"grammar/README.md has no place for {name}"
    return {
        readme: text,
        GRAMMAR / "filter.tmLanguage.json": _json(filter_grammar()),
        GRAMMAR / "filter.injection.tmLanguage.json": _json(injection()),
        GRAMMAR / file_schema.NAME: _json(file_schema.rules_schema()),
        rule_reference.PAGE: rule_reference.page(),
    }


def main() -> int:
    """Compare, or write; the exit code is 1 where something differs."""
    stale = {path: text for path, text in outputs().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--write" in sys.argv:
            path.write_text(text, encoding="utf-8")
        print(f"{'wrote' if '--write' in sys.argv else 'out of date:'} {path.relative_to(GRAMMAR.parent)}")
    return 1 if stale and "--write" not in sys.argv else 0


def _operators() -> str:
    used = set().union(*OPERATORS.values())
    assert used == set(MEANING), used ^ set(MEANING)
    rows = []
    for op, meaning in MEANING.items():
        kinds = [kind for kind in Kind if op in OPERATORS[kind]]
        rows.append((f"`{op}`", meaning, _kinds(kinds)))
    return _table(("operator", "true where", "for"), rows)


def _kinds(kinds: list[Kind]) -> str:
    everything = list(Kind)
    if len(kinds) > len(everything) - 2:
        left = [kind for kind in everything if kind not in kinds]
        return "everything" + "".join(f" but {_type(kind)}" for kind in left)
    return ", ".join(_type(kind) for kind in kinds)


def _type(kind: Kind) -> str:
    return kind.name.lower()


def _fields() -> str:
    rows = []
    for field in FIELDS.values():
        if field.name.startswith("~"):
            continue
        several = ", several" if field.multi else ""
        doc = _sentence(field)
        if any(f"`{word}`" not in doc for word in field.words):
            doc += f" One of {', '.join(f'`{word}`' for word in field.words)}."
        if field.original:
            doc += f" Also `orig.{field.name}`."
        rows.append((f"`{_shown(field)}`", _type(field.kind) + several, f"`{_letters(field.phases)}`", doc))
    return _table(("field", "type", "known at", "what it is"), rows)


def _shown(field: Field) -> str:
    return f'{field.name}["name"]' if field.keyed and field.kind.name != "JSON" else field.name


def _sentence(field: Field) -> str:
    doc = field.read.__doc__
    assert doc, f"the field {field.name} has no sentence: write a docstring for its reader"
    return " ".join(doc.split())


def _tilde() -> str:
    rows = []
    for known in sorted(TILDE.values(), key=lambda each: each.name):
        argument = " STATUS" if known.name == "c" else " REGEX" if wants_argument(known.name) else ""
        rows.append((f"`~{known.name}{argument}`", known.doc))
    return _table(("filter", "true where, or what is searched"), rows)


def _functions() -> str:
    rows = []
    for function in FUNCTIONS.values():
        assert function.name in FUNCTION_DOCS, f"the function {function.name} has no sentence"
        rows.append((f"`{function.name}(…)`", _gives(function), FUNCTION_DOCS[function.name]))
    return _table(("function", "gives", "what it is"), rows)


def _gives(function: Function) -> str:
    return _type(function.gives)


def _limits() -> str:
    rows = [
        ("characters of a filter", f"{MAX_LENGTH:,}"),
        ("levels of brackets, `not` and connectives", str(MAX_DEPTH)),
        ("regexes of a filter, its named filters included", str(MAX_REGEXES)),
        ("a count in a regex, such as `{1,1000}`", "1,000"),
    ]
    return _table(("what", "at most"), rows)


def _all_phases() -> Phase:
    phases = Phase(0)
    for phase in Phase:
        phases |= phase
    return phases


def _letters(phases: Phase) -> str:
    named = {phase.name for phase in Phase if phase.name}
    assert named <= set(MOMENTS), named - set(MOMENTS)
    return "".join(name for name in MOMENTS if name in named and phases & Phase[name])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


__all__ = ["outputs", "public_names", "tables"]

if __name__ == "__main__":
    sys.exit(main())
