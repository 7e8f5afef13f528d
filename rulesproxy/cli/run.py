"""`rulesproxy run`: the proxy, with hot reload, until it is told to stop."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rulesproxy.cli._workers import worker_count

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from rulesproxy.app import Proxy
    from rulesproxy.control.server import Control
    from rulesproxy.engine.options import Options
    from rulesproxy.rules.files.project import Project
    from rulesproxy.rules.load import RulesError
    from rulesproxy.rules.ruleset import RuleSet
    from rulesproxy.workers.supervisor import Supervisor

INVALID, NO_FILE, CANNOT_BIND, INTERRUPTED = 1, 2, 3, 130


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="run the proxy",
        description="Run the proxy. Rule files are loaded again whenever they are saved.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="rule files, folders or pack:NAME (default: the nearest rules.yaml)"
    )
    parser.add_argument(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help="listen here: one address, or one for each --mode (default 127.0.0.1:8080, for socks5 127.0.0.1:1080)",
    )
    parser.add_argument(
        "--mode",
        action="append",
        metavar="MODE",
        help="regular, reverse:https://host:port, upstream:http://proxy:port, socks5, transparent or tcp:host:port; "
        "@host:port behind it is where it listens (default regular; may be repeated)",
    )
    parser.add_argument(
        "--profile", action="append", default=[], metavar="NAME", help="switch a profile on (may be repeated)"
    )
    parser.add_argument("--addon", action="append", default=[], metavar="FILE", help="a Python addon (may be repeated)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set an option (may be repeated)"
    )
    parser.add_argument("--intercept", choices=("auto", "all", "none"), help="which TLS connections to decrypt")
    parser.add_argument(
        "--upstream-ca", action="append", metavar="FILE", help="also trust servers that this CA vouches for"
    )
    parser.add_argument("--http1-codec", choices=("native", "h11"), help="the parser behind HTTP/1.1")
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="ask clients for these (or set RULESPROXY_AUTH, which no `ps` shows)"
    )
    parser.add_argument("--allow-public", action="store_true", help="listen on addresses that other machines can reach")
    parser.add_argument(
        "--workers", type=worker_count, default=1, metavar="N", help="serve with N processes, one for each core"
    )
    parser.add_argument(
        "--control",
        metavar="HOST:PORT",
        help="offer the control API here, for `rulesproxy ctl` (or unix:PATH)",
    )
    parser.add_argument(
        "--ready-file", metavar="FILE", help="write addresses, CA and process id here once clients are accepted"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="how log lines look")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the proxy; the exit code."""
    import gc

    from rulesproxy.cli import USAGE, fail
    from rulesproxy.control.server import ControlError
    from rulesproxy.engine import log
    from rulesproxy.engine.option import OptionsError
    from rulesproxy.layers.modes import ModeError
    from rulesproxy.rules.files.discover import find_rule_files
    from rulesproxy.rules.files.project import Project, read_project
    from rulesproxy.rules.load import RulesError

    # Nothing that is made at start is garbage: looking for some would cost a tenth of the time.
    gc.disable()
    log.setup(args.log_format, -1 if args.quiet else int(args.verbose), shared=args.workers > 1)
    found = find_rule_files(args.files, os.environ, Path.cwd())
    files = found.paths
    if not files and not args.addon:
        return fail("no rule file: name one, or create rules.yaml here", NO_FILE)
    project = Project({}, ())
    made: Proxy | Supervisor
    try:
        project = read_project(found.project) if found.project is not None else project
        control = _control(args)
        made = make_proxy(args, files or None, project, [control.feed] if control is not None else [])
        if args.workers > 1:
            from rulesproxy.cli._workers import make_supervisor

            made = make_supervisor(made, args, files, project)
            if control is not None:
                control.feed.on_follow = made.follow(control.feed.pass_on)
    except RulesError as exc:
        return _refused(exc)
    except (OptionsError, ModeError, ControlError, ValueError) as exc:
        return fail(str(exc), USAGE)
    return run_loop(said(_serve(made, control, args), project))


def make_proxy(
    args: argparse.Namespace,
    rules: RuleSet | tuple[Path, ...] | None,
    project: Project,
    besides: Sequence[object] = (),
    sockets: Sequence[socket.socket] = (),
) -> Proxy:
    """The proxy that the arguments and the project file describe.

    Args:
        args: the arguments.
        rules: the rule files, or the rules.
        project: what the project file says.
        besides: further addons, behind those that were named.
        sockets: see `Proxy`.

    Raises:
        RulesError: an option in the project file is bad.
        OptionsError: another option is.
        ValueError: a mode or an address is none.
    """
    from rulesproxy.addons.access_log import AccessLog
    from rulesproxy.app import Proxy
    from rulesproxy.engine.options import Options
    from rulesproxy.options import declare_options

    options = Options()
    declare_options(options)
    project.set_options(options)
    _set_options(options, args)
    return Proxy(
        rules,
        listen=args.listen or (),
        mode=args.mode or "regular",
        # Nobody sees its lines where only warnings are shown.
        addons=[*map(Path, args.addon), *besides, *([] if args.quiet else [AccessLog()])],
        profiles=args.profile,
        watch=True,
        project=project,
        configured=options,
        sockets=sockets,
    )


def _control(args: argparse.Namespace) -> Control | None:
    if args.control is None:
        return None
    from rulesproxy.control.server import Control
    from rulesproxy.tls.authority import state_dir

    return Control(args.control, state_dir())


async def said(serving: Coroutine[Any, Any, int], project: Project) -> int:
    """The exit code of what serves; what stops it from doing so is said on standard error."""
    from rulesproxy.cli import USAGE, fail
    from rulesproxy.control.server import ControlError
    from rulesproxy.engine.bind import AddonError
    from rulesproxy.engine.option import OptionsError
    from rulesproxy.engine.script import ScriptError
    from rulesproxy.net.server import BindError
    from rulesproxy.rules.load import RulesError
    from rulesproxy.tls.authority import AuthorityError
    from rulesproxy.workers.process import NotStarted

    try:
        return await serving
    except RulesError as exc:
        return _refused(exc)
    except OptionsError as exc:
        explained = project.explain(exc)
        if not explained:
            return fail(str(exc), USAGE)
        _print_rules_error(RulesError(explained))
        return INVALID
    except (BindError, ControlError) as exc:
        return fail(str(exc), CANNOT_BIND)
    except (AddonError, ScriptError, AuthorityError) as exc:
        return fail(str(exc), USAGE)
    except NotStarted as exc:
        # A worker that has ended by itself has said why.
        return exc.code if exc.code > 0 else fail(f"a worker cannot start: {exc}", INVALID)


def _set_options(options: Options, args: argparse.Namespace) -> None:
    # Addons declare options of their own when they are loaded, so unknown names are looked for after that.
    options.set_environment(os.environ, later=True)
    options.set_texts(args.set, later=True)
    flags = {
        "intercept": args.intercept,
        "upstream_ca": tuple(args.upstream_ca) if args.upstream_ca else None,
        "http1_codec": args.http1_codec,
        "auth": args.auth,
        "allow_public": args.allow_public or None,
    }
    options.set_values({name: value for name, value in flags.items() if value is not None}, "command line")


def run_loop(serving: Coroutine[Any, Any, int]) -> int:
    """Run it in the fastest event loop that is here."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)


async def _serve(proxy: Proxy | Supervisor, control: Control | None, args: argparse.Namespace) -> int:
    import asyncio
    import logging
    import signal

    from rulesproxy.app import counted, settle
    from rulesproxy.cli import USAGE, fail

    log = logging.getLogger("rulesproxy")
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()

    def finish(code: int) -> None:
        if stop.done():
            # A second signal: the user does not want to wait for flows to finish.
            os._exit(code or 143)
        stop.set_result(code)

    proxy.live.on_rules_error = _say_rules_error
    if hasattr(signal, "SIGHUP"):
        # Before the start, which may take a while: its default is the end of the process.
        loop.add_signal_handler(signal.SIGHUP, proxy.request_reload)
    await proxy.start()
    settle()
    loop.add_signal_handler(signal.SIGTERM, finish, 0)
    loop.add_signal_handler(signal.SIGINT, finish, INTERRUPTED)
    try:
        for listening in proxy.listeners:
            log.info("listening on %s (%s)", listening, listening.mode)
        if proxy.rules is not None:
            log.info("%s from %s", counted(len(proxy.rules.rules)), ", ".join(map(str, proxy.live.rule_files)))
        if control is not None:
            await control.start(proxy)
            log.info("control API on %s; its token is in %s", control.url, control.file)
        if args.ready_file:
            try:
                _write_ready_file(Path(args.ready_file), proxy, control)
            except OSError as exc:
                return fail(f"cannot write the ready file {args.ready_file}: {exc.strerror}", USAGE)
        asked = loop.create_task(_asked_to_stop(proxy, stop))
        try:
            return await stop
        finally:
            asked.cancel()
    finally:
        if control is not None:
            await control.stop()
        await proxy.stop()


async def _asked_to_stop(proxy: Proxy | Supervisor, stop: asyncio.Future[int]) -> None:
    """An addon may end the proxy as a signal does."""
    await proxy.stop_requested.wait()
    if not stop.done():
        stop.set_result(0)


def _write_ready_file(path: Path, proxy: Proxy | Supervisor, control: Control | None) -> None:
    ready: dict[str, object] = {
        "pid": os.getpid(),
        "listeners": [{"mode": one.mode, "host": one.host, "port": one.port} for one in proxy.listeners],
        "ca": str(proxy.ca_path),
        "revision": proxy.revision,
    }
    if control is not None:
        ready["control"] = {"url": control.url, "file": str(control.file)}
    # Whoever waits for the file must never read half of it.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(ready) + "\n", encoding="utf-8")
    draft.replace(path)


def _refused(error: RulesError) -> int:
    """The exit code of rules that cannot be used, after they were shown."""
    from rulesproxy.rules.load import is_absent

    _print_rules_error(error)
    return NO_FILE if is_absent(error.diagnostics) else INVALID


def _print_rules_error(error: RulesError) -> None:
    from rulesproxy.diagnostics import render

    for diagnostic in error.diagnostics:
        print(render(diagnostic) + "\n", file=sys.stderr)


def _say_rules_error(error: RulesError) -> None:
    import logging

    _print_rules_error(error)
    logging.getLogger("rulesproxy").error("the rules have errors: the last good ones stay in force")
