"""Batches of GraphQL requests: one HTTP request with a JSON array of them, of which each gets an answer of its own.

A rule that answers by what `graphql.operation` or `graphql.type` says answers the requests in a batch that match. They
are taken out of what goes to the server, and their answers are put into what comes back, at their places.
"""

from __future__ import annotations

import json

from rulesproxy.engine.chain import Bound
from rulesproxy.engine.dispatch import run_guarded
from rulesproxy.engine.log import logger
from rulesproxy.filters.fields.graphql import BATCH
from rulesproxy.filters.view import FlowView
from rulesproxy.flow.http import HTTPFlow, HTTPResponse
from rulesproxy.rules.compile import Compiled
from rulesproxy.rules.edits.bodies import body_changed, prepare_for_body_edit
from rulesproxy.rules.edits.json_text import JSONError, container_at, root


class Batch:
    """A batch of which rules have answered some requests.

    Attributes:
        answers: the JSON texts of the answers, by position.
        left: the positions of the requests that are still in the message, in order.
    """

    __slots__ = ("answers", "left")

    def __init__(self, size: int) -> None:
        self.answers: dict[int, str] = {}
        self.left = list(range(size))


def answer_matching(flow: HTTPFlow, batch: Batch | None, rule: Compiled, bound: Bound) -> Batch | None:
    """Answer the requests of a batch that match a rule; None where this is no batch, or the rule is to answer it whole.

    With the last of them, or where an answer is no JSON with status 200 that could stand in a batch, `flow.response` is
    set.
    """
    texts = _items(flow.request.text)
    if texts is None:
        return None
    batch = Batch(len(texts)) if batch is None else batch
    answered: dict[int, str] = {}
    response: HTTPResponse | None = None
    matched = False
    for at, text in enumerate(texts):
        item = _alone(flow, text)
        view = FlowView(item)
        if not rule.matches(view):
            continue
        matched = True
        run_guarded(bound, item, rule.captures(view))
        if item.response is None:
            # The rule has failed, and this request goes on to the server.
            continue
        response = item.response
        answer = _json(response)
        if answer is None:
            flow.response = response
            return batch
        answered[at] = answer
    if not matched:
        return None
    batch.answers.update({batch.left[at]: answer for at, answer in answered.items()})
    batch.left = [position for at, position in enumerate(batch.left) if at not in answered]
    if not batch.left and response is not None:
        response.text = _joined([answer for _, answer in sorted(batch.answers.items())])
        flow.response = response
    elif answered:
        flow.request.text = _joined([text for at, text in enumerate(texts) if at not in answered])
        body_changed(flow.request)
        prepare_for_body_edit(flow.request)
    return batch


def put_back(flow: HTTPFlow, batch: Batch) -> None:
    """Put the answers of rules between those of the server, as far as it has answered with a batch."""
    response = flow.response
    texts = None if response is None else _items(response.text)
    if response is None or texts is None or len(texts) != len(batch.left):
        logger.warning(
            "the answer to %s %s is no batch of %d, and is left as it is: the answers of rules are not in it",
            flow.request.method, flow.request.url, len(batch.left),
        )  # fmt: skip
        return
    answers = {**batch.answers, **dict(zip(batch.left, texts, strict=True))}
    response.text = _joined([answer for _, answer in sorted(answers.items())])
    body_changed(response)


def _alone(flow: HTTPFlow, text: str) -> HTTPFlow:
    """The flow as if one request of the batch were all that it asks for."""
    item = flow.copy()
    item.request.text = text
    return item


def _items(text: str | None) -> list[str] | None:
    """The texts of the values in a JSON array, of which there are not too many; None for anything else."""
    if not text:
        return None
    try:
        array = container_at(text, root(text))
    except JSONError:
        return None
    if array is None or array.kind != "[" or not 0 < len(array.entries) <= BATCH:
        return None
    return [text[entry.start : entry.end] for entry in array.entries]


def _json(response: HTTPResponse) -> str | None:
    """The body of an answer that can stand in a batch."""
    text = response.text
    try:
        json.loads(text or "")
    except ValueError:
        return None
    return text if response.status_code == 200 else None


def _joined(texts: list[str]) -> str:
    return f"[{','.join(texts)}]"
