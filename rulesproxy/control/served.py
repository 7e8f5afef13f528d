"""`Served`: what the control API wants of a proxy. One process has it, and so has the supervisor of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rulesproxy.app import Figures, Listening
    from rulesproxy.engine.commands import Commands
    from rulesproxy.engine.options import Described, Options
    from rulesproxy.flow.connection import Address
    from rulesproxy.live import Live


class Served(Protocol):
    """A proxy, seen from outside.

    Attributes:
        live: its rules.
        listeners: where it listens.
        workers: how many processes serve.
        options: the configuration that it was started with.
    """

    live: Live
    listeners: list[Listening]
    workers: int
    options: Options

    @property
    def ca_path(self) -> Path:
        """The certificate that clients must trust."""

    @property
    def commands(self) -> Commands | None:
        """The commands of all addons; None where these are in other processes."""

    async def figures(self) -> Figures:
        """What is counted, in all processes."""

    async def reload(self) -> bool:
        """Load rule files and addons again; whether there was no error."""

    async def describe_options(self) -> Sequence[Described]:
        """Everything about every option, by name."""

    async def set_options(self, values: Mapping[str, object]) -> None:
        """Set options at run time, all or none.

        Raises:
            OptionsError: an option is bad, or an addon refuses.
        """

    async def refuse_address(self, address: Address) -> None:
        """Connect to this address for nobody."""
