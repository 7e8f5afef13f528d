"""One exchange that shows that a proxy is set up as the scenario wants, before the load client takes over."""

import http.client
import socket
import ssl
from pathlib import Path

from .errors import Failed
from .scenarios import MESSAGE_CHANGED, MESSAGE_PROBE, PATH_MARKED, PATH_RULE_PROBE, PATH_SMALL, SMALL_BODY, Setup

_TIMEOUT = 30.0


def check(setup: Setup, port: int, authority: str, ca: Path | None) -> None:
    """Sends one request through the proxy on this port; Failed says what was not as it should be.

    An intercepting proxy must show a certificate of its own authority `ca`. A header rule must reach both sides. A
    large rule set must be loaded: its last rule is asked for.
    """
    path = PATH_RULE_PROBE if setup.idle_rules else PATH_MARKED if setup.header_rule else PATH_SMALL
    try:
        status, marked, length = _exchange(setup, port, authority.replace("%d", "1"), path, ca)
    except ssl.SSLCertVerificationError as error:
        raise Failed(f"the proxy does not intercept with its own authority: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the probe got no answer: {error!r}") from error
    if status == 417:
        raise Failed("the rule did not reach the request: the origin saw no x-req")
    if status != 200 or length != SMALL_BODY:
        raise Failed(f"the probe was answered with {status} and {length} bytes")
    if setup.header_rule and marked != "1":
        raise Failed("the rule did not reach the response: x-resp is missing")


def check_messages(port: int, authority: str) -> None:
    """Sends one WebSocket message through the proxy that its rule must change on the way back; Failed if it did not."""
    text = MESSAGE_PROBE.encode()
    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head = f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    try:
        with (
            socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(head.encode())
            if b" 101 " not in answers.readline():
                raise Failed("the WebSocket of the probe was refused")
            while answers.readline().strip():
                pass
            # A masking key of zeros leaves the text as it is.
            connection.sendall(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)
            answer = answers.read(2 + len(MESSAGE_CHANGED))
    except OSError as error:
        raise Failed(f"the probe got no message: {error!r}") from error
    if answer[2:] != MESSAGE_CHANGED.encode():
        raise Failed(f"the rule did not change the message of the probe: {answer!r} came back")


def _exchange(setup: Setup, port: int, authority: str, path: str, ca: Path | None) -> tuple[int, str | None, int]:
    connection: http.client.HTTPConnection
    if setup.intercept:
        if ca is None or not ca.exists():
            raise Failed(f"the proxy has no authority at {ca}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca)
        # Some proxies put an address into the common name only; who signed the certificate is what counts here.
        context.check_hostname = authority.startswith("localhost:")
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_TIMEOUT, context=context)
        connection.set_tunnel(*_split(authority))
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        if setup.mode == "forward":
            path = f"http://{authority}{path}"
    try:
        connection.request("GET", path, headers={"Host": authority})
        response = connection.getresponse()
        return response.status, response.getheader("x-resp"), len(response.read())
    finally:
        connection.close()


def _split(authority: str) -> tuple[str, int]:
    host, _, port = authority.rpartition(":")
    return host, int(port)
