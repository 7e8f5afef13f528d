"""What scalars accept, as JSON Schema: pieces of which the schemas of keys and actions are made.

A file says `404` or `"404"`, and readers of other languages see a number in one and a text in the other. Here both are
the same, so both are in the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Fragment = dict[str, object]

TEXT: Mapping[str, object] = {"type": ["string", "number", "boolean"]}
"""Text: a plain `1.10` or `true` is text where text is wanted, and other YAML readers do not know."""
CONSTANT: Mapping[str, object] = {
    "type": "string", "pattern": r"^\$\{\s*(vars\.[A-Za-z_][A-Za-z0-9_-]*|env:[A-Za-z0-9_]+)\s*\}$",
}  # fmt: skip
"""A value that is given under `vars`, or in the environment."""
BOOLEAN: Mapping[str, object] = {
    "anyOf": [
        {"type": "boolean"},
        {
            "type": "string",
            "pattern": "^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]([Ee][Ss])?|[Nn][Oo]?|[Oo]([Nn]|[Ff][Ff]))$",
        },
    ]
}
"""True or false, and the words for them of which `check` says that they are read so."""
BARE: Mapping[str, object] = {"enum": [None, True]}
"""A key that stands alone."""


def integer(low: int | None = None, high: int | None = None) -> Fragment:
    """A whole number; the bounds are included, and there are both or none. The lower one is not below 0."""
    if low is None or high is None:
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[-+]?[0-9]{1,19}$"}]}
    digits = "|".join(_between(low, high))
    text = {"type": "string", "pattern": rf"^\+?0*({digits})$"}
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, text]}


def _between(low: int, high: int) -> Iterator[str]:
    """Patterns that together match the numbers from one to another: each of them differs in its last digits only."""
    ends = {high}
    for length in range(1, len(str(high)) + 1):
        unit = 10**length
        # The last number that has the first digits of the lower bound, and the one before those of the upper bound.
        ends |= {low // unit * unit + unit - 1, (high + 1) // unit * unit - 1}
    for end in sorted(end for end in ends if low <= end <= high):
        yield _digits(str(low), str(end))
        low = end + 1


def _digits(low: str, high: str) -> str:
    return "".join([one if one == other else f"[{one}-{other}]" for one, other in zip(low, high, strict=True)])
