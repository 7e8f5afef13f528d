"""What was probably meant by a name that is none."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str], synonyms: dict[str, str] | None = None) -> str | None:
    """The known name that was probably meant, or None where nothing is near enough.

    Near means a Damerau-Levenshtein distance of a third of the name's length at most, or an entry of `synonyms`.
    """
    if synonyms and name in synonyms:
        return synonyms[name]
    best, limit = None, max(1, len(name) // 3)
    for candidate in known:
        distance = edit_distance(name, candidate, limit)
        if distance <= limit:
            best, limit = candidate, distance - 1
    return best


def edit_distance(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, changes and swaps of neighbours from `a` to `b`; `limit + 1` where it is over `limit`."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
