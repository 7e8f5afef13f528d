"""Hints about regexes that are allowed and hardly ever what was meant.

Each is certain: the text that a regex finds by mistake is tried, and what is said to never match has a part that no
value of the field can hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rulesproxy.filters import ast, shape
from rulesproxy.filters.fields import Kind
from rulesproxy.filters.problem import Problem, info, warning
from rulesproxy.filters.regex import Regex
from rulesproxy.filters.shape import Tree
from rulesproxy.filters.typed import Read

MAX_SIZE = 10_000
"""Characters of a regex whose counted repeats are written out."""

_DOMAIN = re.compile(
    r"(?P<start>\^|\((?:\?:)?\^\|\\\.\)|)(?P<name>[A-Za-z0-9-]+(?:\\?\.[A-Za-z0-9-]+)*\\?\.(?P<top>[A-Za-z]+))(?P<end>\$?)"
).fullmatch
_TOPS = frozenset({
    "com", "org", "net", "info", "biz", "edu", "gov", "mil", "int", "io", "dev", "app", "ai", "co", "me", "tv",
    "cloud", "online", "site", "shop", "xyz", "blog", "eu", "uk", "us", "de", "fr", "es", "it", "nl", "be",
    "ch", "at", "pl", "cz", "se", "no", "dk", "fi", "ie", "pt", "gr", "ru", "ua", "tr", "cn", "jp", "kr", "in",
    "au", "nz", "ca", "br", "mx", "ar", "za", "test", "local", "localhost", "internal",
})  # fmt: skip
"""Last parts of names at which a regex for a whole domain ends. Others may be the middle of one: `^cdn\\.example`."""
_ESCAPED_TWICE = re.compile(r"(?<!\\)(?:\\\\)+[.dws]").search

_Bad = Callable[[str], bool]


def about_regex(read: Read, found: Regex, node: ast.Text, warn: Callable[[Problem], None]) -> None:
    """Give the first hint that there is about a regex in a comparison."""
    tree = found.meaning.tree
    for problem in (_escaped_twice(read, node), _never(read, found, node, tree), _always(read, found, node)):
        if problem is not None:
            warn(problem)
            return
    domain = _open_domain(read, found, node)
    problem = domain or _large(node, tree) or _plain(read, found, node)
    if problem is not None:
        warn(problem)


def about_tilde(node: ast.Tilde, read: Read, found: Regex, warn: Callable[[Problem], None]) -> None:
    """Give the first hint that there is about the regex of a `~` filter."""
    text = node.argument
    assert text is not None
    tree = found.meaning.tree
    whole = read.field
    always = None if whole.optional or whole.flexible or whole.body else _always(read, found, text, "drop it")
    problem = always or _structure(tree, text, found.meaning.flags) or _large(text, tree)
    if problem is None and node.name == "d":
        problem = _domain_by_tilde(node, text, found)
    if problem is not None:
        warn(problem)


def _escaped_twice(read: Read, node: ast.Text) -> Problem | None:
    twice = _ESCAPED_TWICE(node.value)
    if twice is None or read.functions or read.kind not in (Kind.HOST, Kind.METHOD, Kind.PATH):
        return None
    start, end = node.place(twice.start()), node.place(twice.end())
    help = f"write `{twice.group()[-2:]}`" if twice.group()[-1] != "." else r"write `\.`"
    return warning("RP510", r"`\\` is a backslash, which is not meant here", start, end, help)


# What never matches


def _never(read: Read, found: Regex, node: ast.Text, tree: Tree) -> Problem | None:
    structure = _structure(tree, node, found.meaning.flags)
    if structure is not None or read.functions:
        return structure
    name, ignore_case = read.field.name, bool(found.meaning.flags & re.IGNORECASE)
    text = node.value
    # A look at the text saves most walks over the tree.
    if read.kind is Kind.HOST and not text.isalnum() and _impossible(tree, lambda char: char in "/?#@", ignore_case):
        help = f'use `url`, or give the name alone: `{name} == "…"`'
        return warning(
            "RP507", f"`{name}` has no scheme, path or query: this never matches", node.start, node.end, help
        )
    if read.kind is Kind.PATH and ("\\?" in text or "[" in text) and _impossible(tree, "?".__eq__, ignore_case):
        return warning("RP316", "the query is not in `path`", node.start, node.end, 'use `query["name"]`, or `url`')
    if read.kind is Kind.PATH and _first_is_no_slash(tree):
        title = f"`{name}` starts with `/`: this never matches"
        return warning("RP507", title, node.start, node.end, "use `url` or `scheme`, or remove the `^`")
    if read.field.fold and not text.islower() and _impossible(tree, lambda char: "A" <= char <= "Z", ignore_case):
        title = f"`{name}` is lower-case: this never matches"
        return warning("RP507", title, node.start, node.end, "write it in lower case")
    if read.kind is Kind.METHOD and _impossible(tree, lambda char: "a" <= char <= "z", ignore_case):
        title = f"`{name}` is upper-case: this never matches"
        return warning("RP507", title, node.start, node.end, "write it in upper case, or use `~*`")
    return None


def _structure(tree: Tree, node: ast.Text, flags: int) -> Problem | None:
    """Characters before `^` or behind `$`."""
    if flags & re.MULTILINE or not ("^" in node.value[1:] or "$" in node.value[:-1] or "\\A" in node.value):
        return None
    behind = 0
    ended = False
    for op, argument in shape.flat(tree):
        name, where = str(op), str(argument)
        if name == "AT" and where in ("AT_BEGINNING", "AT_BEGINNING_STRING") and behind:
            return warning("RP507", "nothing stands before `^`: this never matches", node.start, node.end)
        width = _width(op, argument)
        if ended and width:
            help = r"a literal `$` is `\$`"
            return warning("RP507", "nothing stands behind `$`: this never matches", node.start, node.end, help)
        behind += width
        ended = ended or (name == "AT" and where == "AT_END_STRING")
    return None


def _width(op: Any, argument: Any) -> int:
    """The smallest number of characters that an item matches."""
    name = str(op)
    if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
        return 1
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return int(argument[0]) * sum(_width(*item) for item in argument[2])
    if name == "SUBPATTERN":
        return sum(_width(*item) for item in argument[3])
    if name == "BRANCH":
        return min(sum(_width(*item) for item in arm) for arm in argument[1])
    return 0


def _impossible(tree: Tree, bad: _Bad, ignore_case: bool) -> bool:
    """Whether every way to match needs a character that no value has. Under `(?i)` only those without case count."""
    return any(_impossible_item(str(op), argument, bad, ignore_case) for op, argument in tree)


def _impossible_item(name: str, argument: Any, bad: _Bad, ignore_case: bool) -> bool:
    if name == "LITERAL":
        return bad(chr(argument)) and not (ignore_case and chr(argument).isalpha())
    if name == "IN":
        return all(_impossible_member(str(op), value, bad, ignore_case) for op, value in argument)
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        return argument[0] > 0 and _impossible(argument[2], bad, ignore_case)
    if name == "SUBPATTERN":
        return _impossible(argument[3], bad, bool((ignore_case or argument[1] & re.I) and not argument[2] & re.I))
    if name == "BRANCH":
        return all(_impossible(arm, bad, ignore_case) for arm in argument[1])
    return False


def _impossible_member(name: str, value: Any, bad: _Bad, ignore_case: bool) -> bool:
    if name == "LITERAL":
        return _impossible_item(name, value, bad, ignore_case)
    if name != "RANGE" or value[1] - value[0] > 64:
        return False
    return all(_impossible_item("LITERAL", code, bad, ignore_case) for code in range(value[0], value[1] + 1))


def _first_is_no_slash(tree: Tree) -> bool:
    items = shape.flat(tree)
    if len(items) < 2 or str(items[0][0]) != "AT" or str(items[0][1]) not in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return False
    return str(items[1][0]) == "LITERAL" and chr(items[1][1]) not in "/*"


# What always matches, or too much


def _always(read: Read, found: Regex, node: ast.Text, help: str = "") -> Problem | None:
    everything = (
        found.shape is not None and found.shape[1] == "" and found.shape[0] in ("contains", "startswith", "endswith")
    )
    if not (everything or (node.value == "^.*$" and not read.field.body)) or found.groups:
        return None
    missing = read.optional or read.multi
    help = help or (f"write `has({_name(read)})`" if missing and not read.functions else "drop it")
    return warning("RP506", "this regex matches everything", node.start, node.end, help)


def _open_domain(read: Read, found: Regex, node: ast.Text) -> Problem | None:
    """A domain in a regex that finds other domains too."""
    domain = _DOMAIN(node.value) if read.kind is Kind.HOST and not read.functions else None
    if domain is None or domain["top"].lower() not in _TOPS:
        return None
    name, text = _name(read), domain["name"].replace("\\", "").lower()
    one = domain["start"] == "^"
    help = f'`{name} == "{text}"` is exact' if one else f'`{name} under "{text}"` is exact'
    dot = re.search(r"(?<!\\)\.", domain["name"])
    witness = _with_other_dot(domain) if dot else f"{text}.evil.test" if not domain["end"] else f"not{text}"
    if witness == text or found.pattern.search(witness) is None:
        return None
    if dot:
        title = f"a dot matches any character: this also finds `{witness}`"
        at = node.place(domain.start("name") + dot.start())
        return warning("RP504", title, at, at + 1, rf"{help}; a dot alone is `\.`")
    return warning("RP505", f"this regex is open at an end: it also finds `{witness}`", node.start, node.end, help)


def _with_other_dot(domain: re.Match[str]) -> str:
    return re.sub(r"(?<!\\)\.", "x", domain["name"], count=1).replace("\\", "").lower()


def _domain_by_tilde(node: ast.Tilde, text: ast.Text, found: Regex) -> Problem | None:
    domain = _DOMAIN(text.value)
    if domain is None or domain["top"].lower() not in _TOPS or not (domain["start"] or domain["end"]):
        # Without a mark of an end a word is just searched for, which is what `~d` is for.
        return None
    name = domain["name"].replace("\\", "").lower()
    exact = domain["start"] == "^" and domain["end"]
    typed = f'host == "{name}"' if exact else f'host under "{name}"'
    witness = next(
        (each for each in (f"{name}.evil.test", f"not{name}", _with_other_dot(domain)) if found.pattern.search(each)),
        "",
    )
    title = (
        f"`~d` searches: it also finds `{witness}`"
        if witness and witness != name
        else "`~d` has an exact form for this"
    )
    return info("RP711", title, node.start, node.end, f"where the domain is meant, write `{typed}`")


# What is too large, or could be simpler


def _large(node: ast.Text, tree: Tree) -> Problem | None:
    size = sum(_size(*item) for item in tree) if "{" in node.value else 0
    if size <= MAX_SIZE:
        return None
    title = f"written out, this regex has {size:,} characters"
    return warning(
        "RP508", title, node.start, node.end, f"{MAX_SIZE:,} is a good limit; use smaller counts, or `+` and `*`"
    )


def _size(op: Any, argument: Any) -> int:
    name = str(op)
    if name in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, body = argument
        times = max(1, low if str(high) == "MAXREPEAT" else int(high))
        return times * sum(_size(*item) for item in body)
    if name == "SUBPATTERN":
        return sum(_size(*item) for item in argument[3])
    if name == "BRANCH":
        return sum(_size(*item) for arm in argument[1] for item in arm)
    return 1


def _plain(read: Read, found: Regex, node: ast.Text) -> Problem | None:
    if found.shape is None or found.groups or read.functions or read.element:
        return None
    op, text = found.shape
    # A regex without any marks is as clear, and a comparison reads some characters in another way.
    if not text or text == node.value or re.search(r'[%\\"\x00-\x1f\x7f]', text):
        return None
    if (op == "under" and read.kind is not Kind.HOST) or (read.kind in (Kind.METHOD, Kind.ENUM) and op != "=="):
        return None
    help = f'`{_name(read)} {op} "{text}"` is the same test'
    return info("RP509", "this regex is a plain comparison", node.start, node.end, help)


def _name(read: Read) -> str:
    name = f"orig.{read.field.name}" if read.original else read.field.name
    if not read.field.keyed:
        return name
    key = read.key.decode("utf-8", "replace") if isinstance(read.key, bytes) else read.key
    index = "" if read.index is None else f"[{read.index}]"
    return f'{name}["{key}"]{index}' if key is not None else f"{name}[*]{index}"
