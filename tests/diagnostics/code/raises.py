"""A file that cannot be imported."""

raise ValueError("no settings")
