"""Every action by the name it has in a rule."""

from __future__ import annotations

from rulesproxy.rules.action import Action
from rulesproxy.rules.actions.block import Block
from rulesproxy.rules.actions.close import Close
from rulesproxy.rules.actions.cors import Cors
from rulesproxy.rules.actions.delay import Delay
from rulesproxy.rules.actions.drop_message import DropMessage
from rulesproxy.rules.actions.fault import Fault
from rulesproxy.rules.actions.inject_message import InjectMessage
from rulesproxy.rules.actions.log import Log
from rulesproxy.rules.actions.map_local import MapLocal
from rulesproxy.rules.actions.map_remote import MapRemote
from rulesproxy.rules.actions.no_cache import NoCache
from rulesproxy.rules.actions.passthrough import Passthrough
from rulesproxy.rules.actions.record import Record
from rulesproxy.rules.actions.redirect import Redirect
from rulesproxy.rules.actions.respond import Respond
from rulesproxy.rules.actions.rewrite import RewriteRequest, RewriteResponse
from rulesproxy.rules.actions.rewrite_message import RewriteMessage
from rulesproxy.rules.actions.run import Run
from rulesproxy.rules.actions.set_state import SetState
from rulesproxy.rules.actions.tag import Tag
from rulesproxy.rules.actions.throttle import Throttle
from rulesproxy.rules.actions.upstream import Upstream

ACTIONS: dict[str, type[Action]] = {
    action.key: action
    for action in (
        Block, Redirect, MapLocal, MapRemote, Respond, RewriteRequest, RewriteResponse, RewriteMessage,
        DropMessage, InjectMessage, Close, Passthrough, Cors, NoCache,
        Delay, Throttle, Fault, SetState, Tag, Log, Record, Run, Upstream,
    )
}  # fmt: skip

__all__ = ["ACTIONS"]
