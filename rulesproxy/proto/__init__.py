"""Codecs: bytes to messages and back, pure machines without I/O and without a clock."""


class ProtocolError(Exception):
    """A peer broke its protocol.

    Attributes:
        status: the HTTP status for a client that did it: 400, 413, 414, 417, 431, 501 or 505. For a server it is 502.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
