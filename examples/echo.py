"""An addon in the place of every server, so that the examples need no internet: it answers with what it was asked.

A path that ends in `.html` gets a page.
"""

from __future__ import annotations

import json

from rulesproxy import HTTPFlow, HTTPResponse

PAGE = b"<!doctype html><title>A page</title><body><h1>A page</h1></body>\n"


def request(flow: HTTPFlow) -> None:
    """Answer what no rule has answered."""
    if flow.response is not None:
        return
    if flow.request.path.partition("?")[0].endswith(".html"):
        headers = [("content-type", "text/html"), ("content-security-policy", "script-src 'self'")]
        flow.response = HTTPResponse.make(200, PAGE, headers)
        return
    asked = {"method": flow.request.method, "url": flow.request.url}
    for name in ("authorization", "x-variant"):
        if name in flow.request.headers:
            asked[name] = flow.request.headers[name]
    body = json.dumps(asked).encode() + b"\n"
    flow.response = HTTPResponse.make(200, body, [("content-type", "application/json")])
