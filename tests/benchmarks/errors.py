"""The two ways in which there is no number."""


class Unavailable(Exception):
    """Something cannot be measured here at all, and why: it is skipped and said."""


class Failed(Exception):
    """A measurement went wrong, and why: its numbers mean nothing and are not shown."""
