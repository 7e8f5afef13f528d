"""Every action by the name it has in a rule."""

from __future__ import annotations

from rulesproxy.rules.action import Action
from rulesproxy.rules.actions.block import Block
from rulesproxy.rules.actions.map_local import MapLocal
from rulesproxy.rules.actions.redirect import Redirect
from rulesproxy.rules.actions.rewrite import RewriteRequest, RewriteResponse

ACTIONS: dict[str, type[Action]] = {
    action.key: action for action in (Block, Redirect, MapLocal, RewriteRequest, RewriteResponse)
}

__all__ = ["ACTIONS"]
