"""Files on disk on their way to a text, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

from rulesproxy.diagnostics import Diagnostic, Source
from rulesproxy.rules.files.nodes import File


def decode(path: Path, data: bytes, problems: list[Diagnostic]) -> Source | None:
    """The text of a file; None where it is not UTF-8, which is added to the problems."""
    try:
        return Source(str(path), data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        source = Source(str(path), data.decode("utf-8", "replace"))
        problems.append(
            Diagnostic(
                "RP002",
                "error",
                f"byte 0x{data[error.start]:02X} is not UTF-8",
                File(source).span(len(before), len(before) + 1),
                help="save the file as UTF-8",
            )
        )
        return None


def real_path(path: Path) -> Path:
    """The file that a path leads to through all links."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        # Links in a circle, or no possible name: reading it says so.
        return path


def unreadable(path: Path, error: Exception, hint: str = "") -> Diagnostic:
    """What is wrong with a file that cannot be read, and the nearest name beside it."""
    words = (getattr(error, "strerror", None) or str(error)).lower()
    missing = isinstance(error, FileNotFoundError)
    help = _nearest(path) if missing else ""
    help = help or (missing and hint) or "check the name and the permissions"
    return Diagnostic("RP001", "error", f"cannot read `{path}`: {words}", help=help)


def _nearest(path: Path) -> str:
    from rulesproxy.diagnostics import suggest

    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except FileNotFoundError:
        return f"there is no folder `{path.parent}`"
    except OSError:
        return f"the folder `{path.parent}` cannot be read either"
    meant = suggest(path.name, names)
    return f"did you mean `{path.with_name(meant)}`?" if meant else ""
