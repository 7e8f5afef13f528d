"""The keys of rule files and of rules, with what each accepts and means: the registry behind the schema and the docs.

The keys of an action are the fields of its class, and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rulesproxy.rules.dry.cases import Case
from rulesproxy.rules.gates import Count, Sample
from rulesproxy.rules.reading.fragments import CONSTANT, TEXT
from rulesproxy.rules.reading.match import KEYS as MATCH_KEYS
from rulesproxy.rules.reading.match import NAME, NUMBERS

NAMES: Mapping[str, object] = {"pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"}
"""What variables, lists and filters may be called, as JSON Schema."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key.

    Attributes:
        name: as it is written.
        kind: what it accepts: a type that `Reader.value` reads, `list` for a list that is never a single item, or JSON
            Schema for what is read in another way.
        doc: what it means, in sentences.
        default: what holds where it is missing, as YAML; empty where that is nothing.
        words: for a choice of words, what each of them means.
        project: it is for the project file only.
        filled: a list of it has at least one item.
    """

    name: str
    kind: Any
    doc: str
    default: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    project: bool = False
    filled: bool = False


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


_ONE_OR_MORE: Mapping[str, object] = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
_MATCH: dict[str, str] = {
    "method": "The method, such as GET; a list means any of them.",
    "scheme": "`http` or `https`.",
    "host": "The host; with a dot in front it and everything below it, `*` stands for any text.",
    "port": "The port, or a range such as 8000..8999.",
    "path": "The path without the query; `*` stands for any text.",
    "query": "Query parameters by name: a value, or true where it only has to be there.",
    "header": "Request headers by name: a value, or true where it only has to be there.",
    "cookie": "Cookies by name: a value, or true where it only has to be there.",
    "status": "The status of the response, or a range such as 500..599.",
}
_BY_NAME = ("query", "header", "cookie")
_NUMBERS: Mapping[str, Mapping[str, object]] = {
    "port": {"type": "string", "pattern": rf"^({NUMBERS}|{NAME})$"},
    "status": {"type": "string", "pattern": rf"^({NUMBERS}|[1-5][xX][xX]|{NAME})$"},
}


def _match_key(name: str) -> dict[str, object]:
    arms = [{"type": "integer", "minimum": 0}, _NUMBERS[name], CONSTANT] if name in _NUMBERS else [TEXT]
    values = {"anyOf": [*arms, {"type": "array", "items": {"anyOf": arms}, "minItems": 1}]}
    by_name = {"type": "object", "additionalProperties": values, "minProperties": 1}
    return {**(by_name if name in _BY_NAME else values), "description": _MATCH[name]}


MATCH: Mapping[str, object] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {name: _match_key(name) for name in MATCH_KEYS},
            "additionalProperties": False,
            "minProperties": 1,
        },
    ]
}
"""`match` as JSON Schema. What stands inside a filter only `check` can read."""

RULE = _table(
    Key(
        "match", MATCH,
        "The filter: which traffic the rule is about. `~all` is everything. Comparisons such as "
        '`host under "example.com" and method in {GET HEAD}`, and the `~` filters of mitmproxy, such as '
        "`~d example.com & ~m POST`, freely joined with `and`, `or` and `not`. "
        "A mapping such as `{host: a.test, method: GET}` is short for comparisons joined with `and`.",
    ),
    Key("id", str, "A name of its own, for logs, counters and messages. Without one a rule is called `file:line`."),
    Key("description", str, "Free text for people."),
    Key("tags", tuple[str, ...], "Free words for people; the action `tag` is the one that marks flows."),
    Key("enabled", bool, "`false` switches the rule off.", "true"),
    Key(
        "profile",
        _ONE_OR_MORE,
        "The rule is there only with `--profile NAME`: one name, or a list of which one is enough.",
    ),
    Key(
        "sample", Sample,
        'The share of the flows that the rule acts on: `30%`; with `by request.cookie["uid"]` the share of the values, '
        "so that flows with the same value are treated alike, after a restart too; `seed 42` takes others.",
    ),
    Key(
        "nth", tuple[Count, ...], "The numbers of the flows that the rule acts on, counted from 1: one, or a list.",
        filled=True,
    ),
    Key("every", Count, "The rule acts on each flow whose number can be divided by this one.", "1"),
    Key("times", Count, "The rule acts on so many flows at most."),
    Key("stop", bool, "`true`: no rule below applies, for the request and for the response.", "false"),
    Key(
        "on-error", Literal["open", "closed"], "What happens to a flow on which an action fails.", "open",
        {
            "open": "The action has changed nothing, and the flow goes on.",
            "closed": "The client gets 502, which the rules of the response see as any other answer.",
        },
    ),
    Key(
        "on-overflow", Literal["stream", "block"],
        "What happens to a body that the rule needs and that is over the limit.", "stream",
        {
            "stream": "The body passes, and the rule does not apply.",
            "block": "The client gets 413 for its request, 502 for the server's response.",
        },
    ),
    Key(
        "do", {"type": "array", "items": {"$ref": "#/definitions/actions"}, "minItems": 1},
        "A list of actions, where one of them is wanted twice; instead of actions beside `match`.",
    ),
)  # fmt: skip
"""The keys of a rule that are no actions."""

_VARS: Mapping[str, object] = {"type": ["object", "null"], "propertyNames": NAMES, "additionalProperties": TEXT}
_LISTS: Mapping[str, object] = {
    "type": ["object", "null"],
    "propertyNames": NAMES,
    "additionalProperties": {
        "anyOf": [
            {"type": "array", "items": TEXT},
            {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "description": "A file with one item a line, `#` for comments."}
                },
                "required": ["file"],
                "additionalProperties": False,
            },
        ]
    },
}
_FILTERS: Mapping[str, object] = {
    "type": ["object", "null"],
    "propertyNames": NAMES,
    "additionalProperties": {"type": "string"},
}

INCLUDE = _table(
    Key(
        "include", _ONE_OR_MORE,
        "Other files, whose rules stand exactly here: a file, a folder, a pattern such as `mocks/**/*.yaml`, or a pack "
        "as `pack:NAME`. Paths are relative to this file.",
    ),
    Key("id", str, "A name in front of the ids of the included rules, `NAME/cors`; so a file can be included twice."),
    Key("vars", _VARS, "Values for variables that the included files declare."),
    Key("lists", _LISTS, "Lists in the place of those that the included files declare."),
    Key("filters", _FILTERS, "Filters in the place of those that the included files declare."),
    Key("profile", _ONE_OR_MORE, "The included rules are there only with `--profile NAME`; of a list one is enough."),
    Key("enabled", bool, "`false` switches the included rules off.", "true"),
)  # fmt: skip
"""The keys of an entry of `rules` that includes other files."""

TOP = _table(
    Key("version", Literal[1], "The version of the file format. Every rule file begins with it."),
    Key(
        "vars", _VARS,
        "Variables: `$name` in filters, `${vars.name}` in templates. They are fixed when the file is loaded; "
        "`${env:NAME}` takes a value from the environment.",
    ),
    Key(
        "lists", _LISTS,
        "Lists for `in $name` and `under $name` in filters: items, or `{file: lists/name.txt}`.",
    ),
    Key(
        "filters", _FILTERS,
        "Filters by name, which stand as `$name` in other filters.",
    ),
    Key(
        "profiles",
        {
            "type": ["object", "null"],
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": {"vars": _VARS, "lists": _LISTS, "filters": _FILTERS},
                "additionalProperties": False,
            },
        },
        "Other values for `vars`, `lists` and `filters` by the name of a profile, for `--profile NAME`.",
    ),
    Key(
        "rules",
        {
            "type": ["array", "null"],
            "items": {
                "if": {"type": "object", "required": ["include"]},
                "then": {"$ref": "#/definitions/include"},
                "else": {"$ref": "#/definitions/rule"},
            },
        },
        "The rules. They run from top to bottom, and every matching rule applies, until one answers.",
    ),
    Key(
        "tests", list[Case],
        "Tests of the rules, for `rulesproxy test`: a request or messages, what the server answers, what is expected.",
    ),
    Key(
        "options", {"type": ["object", "null"]},
        "Options of the proxy by name, in the project file `rulesproxy.yaml` only; `rulesproxy config` lists them.",
        project=True,
    ),
    Key(
        "addons", {"anyOf": [TEXT, {"type": "array", "items": TEXT}, {"type": "null"}]},
        "Files of Python addons, in the project file `rulesproxy.yaml` only; the word `rules` marks the place of the "
        "rules among them.",
        project=True,
    ),
)  # fmt: skip
"""The keys at the top of a rule file."""
