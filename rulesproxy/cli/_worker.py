"""The program of a worker process of `run --workers N`: makes the proxy that it is told to be, and runs it."""

from __future__ import annotations

import argparse
import gc
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.cli.run import make_proxy, run_loop, said
from rulesproxy.rules.files.project import Project
from rulesproxy.workers.bundle import unpack_rules
from rulesproxy.workers.channel import Channel, Message
from rulesproxy.workers.worker import Worker

if TYPE_CHECKING:
    from rulesproxy.rules.ruleset import RuleSet


def main(descriptors: Sequence[int]) -> int:
    """Run a worker; the exit code.

    Args:
        descriptors: those of its channel to the supervisor, and of its listening sockets.
    """
    gc.disable()
    channel, *listening = [socket.socket(fileno=each) for each in descriptors]
    return run_loop(_run(channel, listening))


async def _run(sock: socket.socket, listening: Sequence[socket.socket]) -> int:
    channel = await Channel.on(sock)
    received = await channel.receive()
    if received is None:
        return 0
    asked, data = received
    args = argparse.Namespace(**asked["arguments"])
    project = Project(asked["options"], tuple(asked["addons"]))
    return await said(_serve(channel, listening, args, project, asked, data), project)


async def _serve(
    channel: Channel, listening: Sequence[socket.socket], args: argparse.Namespace, project: Project, asked: Message,
    data: bytes,
) -> int:  # fmt: skip
    from rulesproxy.engine import log

    log.setup(args.log_format, -1 if args.quiet else int(args.verbose), shared=True)
    files = [Path(each) for each in asked["files"]]
    rules: RuleSet | None = unpack_rules(data, files, args.profile) if asked["digest"] else None
    feed = None
    if args.control is not None:
        from rulesproxy.control.feed import Feed

        feed = Feed()
    proxy = make_proxy(args, rules, project, [] if feed is None else [feed], listening)
    proxy.options.set_values(asked["set"], "run time", later=True)
    proxy.live.disabled = set(asked["disabled"])
    proxy.live.first_revision = asked["revision"]
    return await Worker(proxy, channel, rules, files, args.profile, feed).run(asked)
