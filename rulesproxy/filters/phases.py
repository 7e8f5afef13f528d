"""`Phase`: the moments in the life of a flow at which a filter can be asked."""

from __future__ import annotations

from enum import IntFlag


class Phase(IntFlag):
    """A set of moments. The order of the bits is the order in time."""

    C = 1
    """A client asks for a tunnel (CONNECT) or a connection."""
    T = 2
    """Its ClientHello was read."""
    Q = 4
    """The request head is there."""
    B = 8
    """The request body is there."""
    R = 16
    """The response head is there."""
    S = 32
    """The response body is there."""
    W = 64
    """A WebSocket message."""
    X = 128
    """Bytes of a TCP connection."""
    E = 256
    """The flow ended without a response."""
    V = 512
    """One event of an event stream."""


NONE = Phase(0)
ALL = Phase.C | Phase.T | Phase.Q | Phase.B | Phase.R | Phase.S | Phase.W | Phase.X | Phase.E | Phase.V
FROM_HELLO = ALL & ~Phase.C
FROM_REQUEST = Phase.Q | Phase.B | Phase.R | Phase.S | Phase.W | Phase.E | Phase.V
FROM_BODY = FROM_REQUEST & ~Phase.Q
FROM_SERVER = Phase.R | Phase.S | Phase.W | Phase.X | Phase.V
FROM_RESPONSE = FROM_SERVER & ~Phase.X
BODIES = Phase.B | Phase.S
CONNECTING = Phase.C | Phase.T | Phase.X
"""What is known when a connection of raw TCP begins."""
MESSAGES = Phase.W | Phase.X | Phase.V
