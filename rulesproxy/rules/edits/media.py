"""The media type of a file by its name, the same on every machine."""

from __future__ import annotations

from functools import cache
from mimetypes import MimeTypes


def content_type(name: str) -> str:
    """The Content-Type of a file by its extension; text is UTF-8."""
    kind, coding = _types().guess_type(name.lower(), strict=False)
    if coding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(coding, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


@cache
def _types() -> MimeTypes:
    # The table of the machine differs from one to the next, so only Python's own is used.
    known = MimeTypes(())
    for kind, ending in (
        ("text/javascript", ".js"), ("text/javascript", ".mjs"), ("application/json", ".map"), ("image/webp", ".webp"),
        ("image/avif", ".avif"), ("font/woff", ".woff"), ("font/woff2", ".woff2"), ("application/wasm", ".wasm"),
        ("image/svg+xml", ".svg"), ("text/markdown", ".md"), ("application/manifest+json", ".webmanifest"),
        ("text/yaml", ".yaml"), ("text/yaml", ".yml"), ("image/x-icon", ".ico"), ("application/xml", ".xml"),
    ):  # fmt: skip
        known.add_type(kind, ending)
    return known
