"""The typed tree that `check` makes: the one form that compiler, interpreter and index read."""

from __future__ import annotations

from typing import TypeAlias

Node: TypeAlias = object
