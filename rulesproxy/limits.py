"""Every bound and every timeout, each with its reason.

Nothing waits without a deadline and nothing buffers without a bound: the numbers are here and nowhere else. Sizes are
bytes, times are seconds. `Limits` is immutable; a changed option makes another one.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

RULE_FILES = 2000
"""Rule files of one set, each counted as often as it is included. Every one is looked at four times a second."""
INCLUDE_DEPTH = 16
"""Files that include one another in a chain. Two or three are usual."""
SEARCHED_FOLDERS = 1000
"""Folders that globs look into: the answer to `/**/*.yaml`."""
HAR_IMPORT = 64 * MIB
"""A HAR file of another program that is gone on with: it is read whole."""
HAR_BACKLOG = 16 * MIB
"""What may wait for a slow disk before flows wait for it."""
LIST_FILE = 16 * MIB
"""The file of a list: about a million hosts."""
LIST_PROBLEMS = 10
"""Problems of one list that are shown one by one; merged block lists have thousands of entries twice."""

REGEX_STEPS = 4000
"""Steps of a regex's automaton that are remembered, a few hundred bytes each; then it begins anew."""
REGEX_SIZE = 1000
"""Instructions of a regex that runs on our automaton: it does this much work for a new character at worst."""
REGEX_SHORT = 256
"""Characters of a text, or of the longest match of a regex, for which quadratic time is no harm: about 0.1 ms at worst,
and 1 µs nearly always."""

HAR_CHARACTERS = 256 * MIB
"""A recording that is run through rules: it is held in memory as text and once more as values."""
HAR_ENTRIES = 100_000
"""Exchanges in one recording; a browser's session of an hour has some thousands."""


TCP_HOLD_SHARES = 64
"""Each wait of `tcp_hold` that was in vain halves the next one of its direction, down to this part of it: a protocol of
requests and answers is slowed at its beginning at most, and the segments of one write are still seen together."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one proxy. The defaults suit a proxy that hostile peers can reach."""

    header_block: int = 64 * KIB
    """A request or response head. Browsers stop at 64 to 256 KiB; more than this is an attack or a bug."""
    header_count: int = 200
    """Header fields in one head."""
    target: int = 16 * KIB
    """The request target (RFC 9112 section 3 asks for at least 8,000 octets)."""
    chunk_line: int = 256
    """A chunk-size line with its extensions, which nobody uses and attackers grow."""
    trailers: int = 8 * KIB
    """A trailer section."""
    body: int = 10 * MIB
    """A body that is buffered because a rule or an addon wants it; a bigger one streams on unread."""
    decoded_body: int = 50 * MIB
    """A buffered body once its content codings are undone: the answer to decompression bombs."""
    decoded_ratio: int = 1000
    """Decoded size by coded size. Deflate reaches 1032 only on constant data."""
    messages_kept: int = 100
    """Messages that a WebSocket or TCP flow remembers."""
    messages_kept_size: int = 32 * MIB
    """The same in bytes, for WebSocket messages, which can be big."""
    websocket_message: int = 16 * MIB
    """A WebSocket message whose fragments are joined because an addon wants it; a bigger one ends the conversation."""
    event: int = 1 * MIB
    """An event of an event stream that rules look at; a bigger one passes unread."""
    tcp_hold: float = 0.05
    """How long the beginning of what a rule looks for in TCP waits for its rest. Segments of one write arrive within
    microseconds; a person does not notice the wait."""
    tcp_look_behind: int = 256
    """Bytes of such a beginning. A longer match, such as one of `\\w+`, is not found where it is split so late."""

    state_clients: int = 10_000
    """Clients that rules remember something for. A proxy of a whole office has fewer."""
    state_value: int = 1 * KIB
    """Characters of one value that rules remember: a step, a user or a token, not a document."""

    client_hello: int = 64 * KIB
    """The TLS records of one ClientHello. The biggest real ones, with post-quantum keys, are under 3 KiB."""
    client_hello_records: int = 64
    """The records that it may be cut into. Real ones are in one to three."""

    read_chunk: int = 64 * KIB
    """What a stream buffers before it stops its writer."""
    write_buffer: int = 256 * KIB
    """What may wait for a slow reader before the other side is no longer read."""
    drain_request: int = 64 * KIB
    """What is still read of a request body that was answered early, to keep the connection."""

    repeat: float = 0.1
    """The shortest time between two messages that are sent again and again. Heartbeats take seconds."""
    repeats: int = 100
    """Such messages of one conversation. One or two are usual."""
    injected: int = 1 * MIB
    """What an addon has injected into a conversation and a peer has not read yet."""

    connect: float = 10.0
    """Dialling, every address together."""
    proxy_connect: float = 30.0
    """The answer of an upstream proxy to CONNECT or SOCKS: it dials itself, and says so only when it has given up."""
    tls_handshake: float = 10.0
    """One TLS handshake, on either side."""
    header_read: float = 30.0
    """From the first byte of a request head to its last (slowloris)."""
    idle: float = 120.0
    """A kept-alive client connection without a request."""
    response_head: float = 120.0
    """From the end of the request to the response head."""
    body_stall: float = 120.0
    """A body of which no byte moves, in either direction."""
    tunnel_idle: float = 3600.0
    """A tunnel in which no byte moves."""
    websocket_idle: float = 3600.0
    """A WebSocket on which no frame moves. Applications that ping keep theirs; a peer that vanished keeps nothing."""
    websocket_close: float = 10.0
    """From the first Close frame of a WebSocket to the other side's."""
    websocket_stall: float = 120.0
    """How long a peer of a WebSocket may take nothing while something waits for it."""
    peek: float = 0.3
    """How long a tunnel waits for the client's first bytes before the server is asked to speak first."""
    handler: float = 60.0
    """One `async` handler; then it counts as if it had raised."""
    handler_blocks: float = 0.1
    """A handler that holds the event loop longer is named in a warning."""
    delay: float = 120.0
    """A delay that a flow asks for; a longer one is cut to it. Hardly any client waits as long for an answer."""
    close_linger: float = 2.0
    """How long a closing connection may still flush what was written."""
    replaced_addon: float = 5.0
    """How long flows may keep an addon alive that a reload has replaced."""

    client_connections: int = 10_000
    """Open client connections; beyond it accepting pauses."""
    idle_per_key: int = 64
    """Idle pooled connections to one server. Active ones are never limited."""
    idle_pooled: float = 30.0
    """How long a server connection may wait in the pool: most servers close theirs after 60 s or more."""
    http2_streams: int = 100
    """Requests at once on one HTTP/2 connection; the next one gets another connection. Servers allow 100 to 250."""
    http2_stream_window: int = 64 * KIB
    """What a server may send of one answer before its client has taken it: at first, and where the client is slow."""
    http2_stream_window_most: int = 1 * MIB
    """The same where the client takes all at once: 64 KiB on the way are 2 MB/s at 30 ms, this is 35 MB/s."""
    http2_buffer: int = 4 * MIB
    """What the windows of one connection may have grown together: many clients may stop reading at once."""
    http2_connection_window: int = 1 * MIB
    """What a server may send on one connection before it hears of us."""
    http2_control_frames: int = 1000
    """PING, SETTINGS and other frames that carry nothing: in a second, and answers to them that wait. A server that is
    well sends a few in a minute."""
    http2_empty_frames: int = 100
    """DATA frames without data, one after the other. Nobody needs more than one, which ends the stream."""
    http2_interim: int = 16
    """Interim responses of one request that wait for a client that reads slowly. One or two are usual."""
    http2_settings: float = 10.0
    """From the beginning of an HTTP/2 connection to the server's settings, which it sends unasked."""
    contexts: int = 1000
    """TLS contexts of intercepted hosts kept at once, the least recently used goes first."""
    trusts: int = 32
    """TLS contexts towards servers kept at once. Each holds its own copy of the trust store, about 1 MiB."""


MAY_BE_ZERO = frozenset(
    {
        "body",
        "trailers",
        "drain_request",
        "peek",
        "tcp_hold",
        "tcp_look_behind",
        "delay",
        "close_linger",
        "replaced_addon",
        "idle_per_key",
        "idle_pooled",
    }
)
"""Limits of which nothing at all may be wanted. With 0 for another one no connection would work."""

DEFAULT = Limits()

WORKERS = 256
"""Processes that share an address. More than the processor has cores serve nothing faster."""
WORKER_START = 60.0
"""From the start of a worker process until it serves: it imports addons and compiles all rules, on a busy machine."""
WORKER_ANSWER = 60.0
"""What a worker is told, it has done after this long; else it hangs, and is replaced. 10,000 rules take seconds."""
WORKER_STOP = 65.0
"""How long a worker may take to end beside `shutdown_grace`: as long as its addons may take for their `done`."""
WORKER_PAUSE = 0.5
"""The pause before the second attempt to replace a worker that does not live; each further one doubles it."""
WORKER_PAUSE_MOST = 30.0
"""The longest such pause: a file that was mended is seen after it."""
WORKER_LIVES = 10.0
"""Seconds after which a worker counts as one that lives: when it dies, it is replaced at once."""
WORKER_BACKLOG = 1 * MIB
"""What a worker may hold of the control feed while the supervisor is busy: some thousand entries."""
WORKER_RULES = 512 * MIB
"""Rule files and lists that are sent to workers: thirty lists of the largest size, each of a million hosts."""
WORKER_MESSAGE = WORKER_RULES + MIB
"""A message between the processes. The largest has all rule files and lists in it."""

FEED_BACKLOG = 1000
"""Entries of the control feed that wait for one reader: a burst of a second; a slower reader is told what it missed."""
CONTROL_BODY = 2 * 1024 * 1024
"""Bytes of a request to the control API: the largest rule file, spelt as JSON, has place in it."""
CONTROL_PATIENCE = 10.0
"""Seconds for the head of a request to the control API, and for its body: both come from this machine."""
CONTROL_CONNECTIONS = 100
"""Connections to the control API: some dashboards and shells. Others would take descriptors away from the proxy."""
