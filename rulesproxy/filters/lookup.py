"""Names to fields and functions, and what was probably meant by a name that is none."""

from __future__ import annotations

from rulesproxy.diagnostics import suggest
from rulesproxy.filters import ast
from rulesproxy.filters.fields import FIELDS, SYNONYMS, Field, Kind, public_names
from rulesproxy.filters.fields.document import Path
from rulesproxy.filters.functions import FUNCTIONS, json_function
from rulesproxy.filters.problem import FilterError, error
from rulesproxy.filters.typed import Function

_OPERATORS_AS_FUNCTIONS = frozenset({"contains", "startswith", "endswith", "under", "glob", "like"})
_FOREIGN_FUNCTIONS = {
    "starts_with": "startswith", "startsWith": "startswith", "ends_with": "endswith", "endsWith": "endswith",
    "matches": "~", "regex": "~", "match": "~", "PathPrefix": "startswith", "Path": "==", "Host": "==",
    "HostRegexp": "~", "Method": "==", "wildcard": "glob",
}  # fmt: skip
_FIELD_OF = {"PathPrefix": "path", "Path": "path", "Host": "host", "HostRegexp": "host", "Method": "method"}
_USUAL = ("host", "path", "method", "url", "query", "request.header", "request.text", "response.status", "client.ip")


def find(name: str) -> Field | None:
    """The field of that name, if there is one."""
    if name.startswith("orig."):
        spec = FIELDS.get(name[5:])
        return spec if spec is not None and spec.original else None
    return FIELDS.get(name)


def near(name: str) -> str | None:
    """The field that was probably meant by `name`."""
    lower = name.lower()
    if lower in public_names():
        return lower
    return SYNONYMS.get(lower) or suggest(lower, public_names())


def field(value: ast.Field) -> Field:
    """The field that a value names.

    Raises:
        FilterError: there is none.
    """
    spec = find(value.name)
    if spec is not None:
        return spec
    end = value.start + len(value.name)
    group, _, last = value.name.rpartition(".")
    owner = FIELDS.get({"request.headers": "request.header", "response.headers": "response.header"}.get(group, group))
    guess = near(value.name)
    document = _document(value.name)
    if document:
        help = f"write `{document}`"
    elif owner is not None and owner.keyed:
        help = f'write `{owner.name}["{last}"]`'
    elif guess is not None:
        example = f'{guess}["x"]' if FIELDS.get(guess, owner) and _keyed(guess) and not value.keys else guess
        help = f"did you mean `{example}`?"
    else:
        # All of them would be a wall of text: those of the same group, or the most usual ones.
        same = [name for name in public_names() if name.partition(".")[0] == value.name.partition(".")[0]]
        help = f"the fields are {', '.join(same or _USUAL)}" + ("" if same else ", …")
    raise FilterError(
        [error("RP301", f"unknown field `{value.name}`", value.start, end, help, "no field of this name")]
    )


def function(value: ast.Call) -> tuple[Function, ast.Value]:
    """The function that a call names, and its argument.

    Raises:
        FilterError: there is none, or it has other arguments.
    """
    known = FUNCTIONS.get(value.name)
    if known is None:
        raise FilterError([error("RP302", f"unknown function `{value.name}`", value.start, value.end, _help(value))])
    if len(value.args) != 1 or not isinstance(value.args[0], (ast.Field, ast.Call)):
        title = f"`{value.name}` takes one field"
        raise FilterError([error("RP302", title, value.start, value.end, f"such as `{value.name}(path)`")])
    if known.gives is Kind.JSON:
        return json_function(path(value)), value.args[0]
    if value.keys:
        raise FilterError([error("RP303", f"`{value.name}(…)` takes no index", value.start, value.end)])
    return known, value.args[0]


def path(value: ast.Value) -> Path:
    """The path into JSON that stands behind a value.

    Raises:
        FilterError: a position below 0.
    """
    if any(isinstance(key, int) and key < 0 for key in value.keys):
        raise FilterError([error("RP303", "an index counts from 0", value.start, value.end)])
    return value.keys


def shown(value: ast.Value) -> str:
    """A value as it is written, as far as its name goes."""
    if isinstance(value, ast.Call):
        return f"{value.name}(…)"
    return value.name + ("[…]" if value.keys else "")


def _document(name: str) -> str:
    """A dotted path into JSON as it is written; empty where the name is none."""
    for at in range(name.count("."), 0, -1):
        parts = name.split(".")
        spec = FIELDS.get(".".join(parts[:at]))
        if spec is not None and spec.kind is Kind.JSON:
            return spec.name + "".join([f'["{part}"]' for part in parts[at:]])
    return ""


def _keyed(name: str) -> bool:
    spec = find(name)
    return spec is not None and spec.keyed


def _help(value: ast.Call) -> str:
    name = value.name
    lower = name.lower()
    if lower in ("and", "or", "not", "in"):
        return f"operators are lower case: `{lower}`"
    op = name if name in _OPERATORS_AS_FUNCTIONS else _FOREIGN_FUNCTIONS.get(name)
    if op is not None:
        texts = [arg for arg in value.args if isinstance(arg, ast.Text)]
        fields = [shown(arg) for arg in value.args if isinstance(arg, (ast.Field, ast.Call))]
        left = fields[0] if fields else _FIELD_OF.get(name, "path")
        return f'it is an operator: `{left} {op} "{texts[0].value if texts else "…"}"`'
    guess = suggest(lower, FUNCTIONS)
    return f"did you mean `{guess}`?" if guess else f"the functions are {', '.join(FUNCTIONS)}"
