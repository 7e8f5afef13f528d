"""`rulesproxy completion`: scripts with which shells complete commands and options, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a command.

    Attributes:
        names: as they are written.
        help: what it does.
        choices: the values that it may have.
        takes_value: whether one follows.
    """

    names: tuple[str, ...]
    help: str
    choices: tuple[str, ...]
    takes_value: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        name: as it is written.
        help: what it does.
        flags: its options.
        words: the words that may follow, such as `show` behind `ca`; where there are none, files may.
    """

    name: str
    help: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete commands and options",
        description="Print a completion script. bash: `source <(rulesproxy completion bash)` in ~/.bashrc. zsh: write"
        " it to a file `_rulesproxy` in a folder of $fpath. fish: write it to"
        " ~/.config/fish/completions/rulesproxy.fish.",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script; the exit code."""
    from rulesproxy.cli import _parser

    commands = list(commands_of(_parser()))
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](commands), end="")
    return 0


def commands_of(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """The commands of a command line."""
    group = _subparsers(parser)
    assert group is not None
    helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
    for name, sub in group.choices.items():
        inner = _subparsers(sub)
        words = tuple(inner.choices) if inner is not None else _words(sub)
        flags = [_flag(action) for action in sub._actions if action.option_strings]
        yield Command(name, helps.get(name, ""), tuple(flags), words)


def _subparsers(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    return next((each for each in parser._actions if isinstance(each, argparse._SubParsersAction)), None)


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    positional = [action for action in parser._actions if not action.option_strings and action.choices]
    return tuple(str(choice) for action in positional for choice in action.choices or ())


def _flag(action: argparse.Action) -> Flag:
    help = (action.help or "").replace("%%", "%")
    choices = tuple(map(str, action.choices or ()))
    return Flag(tuple(action.option_strings), help, choices, action.nargs != 0)


def _bash(commands: list[Command]) -> str:
    cases = []
    for command in commands:
        flags = " ".join(name for flag in command.flags for name in flag.names)
        cases.append(f'        {command.name}) flags="{flags}"; words="{" ".join(command.words)}" ;;')
    takes = sorted({name for command in commands for flag in command.flags if flag.takes_value for name in flag.names})
    chosen = [
        f'        "{command.name} {name}") COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$cur")); return ;;'
        for command in commands
        for flag in command.flags
        if flag.choices
        for name in flag.names
    ]
    names = " ".join(command.name for command in commands)
    return f"""# Completion of rulesproxy for bash.
_rulesproxy() {{
    local cur prev command flags words word
    cur=${{COMP_WORDS[COMP_CWORD]}}
    prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        case "$word" in -*) ;; *) command=$word; break ;; esac
    done
    COMPREPLY=()
    case "$command $prev" in
{chr(10).join(chosen)}
    esac
    case "$prev" in
        {"|".join(takes)}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    case "$command" in
        "") COMPREPLY=($(compgen -W "{names} --help --version" -- "$cur")); return ;;
{chr(10).join(cases)}
    esac
    case "$cur" in
        -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
        *)
            if [ -n "$words" ]; then
                COMPREPLY=($(compgen -W "$words" -- "$cur"))
            else
                COMPREPLY=($(compgen -f -- "$cur"))
            fi
            ;;
    esac
}}
complete -o filenames -F _rulesproxy rulesproxy
"""


def _zsh(commands: list[Command]) -> str:
    listed = "\n".join(f"        {_quoted(f'{command.name}:{command.help}')}" for command in commands)
    cases = []
    for command in commands:
        specs = [_zsh_flag(flag) for flag in command.flags]
        specs.append(f"'1:word:({' '.join(command.words)})'" if command.words else "'*:file:_files'")
        cases.append(f"        {command.name}) _arguments {' '.join(specs)} ;;")
    return f"""#compdef rulesproxy
# Completion of rulesproxy for zsh.
_rulesproxy() {{
    local -a commands
    commands=(
{listed}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{chr(10).join(cases)}
    esac
}}
_rulesproxy "$@"
"""


def _zsh_flag(flag: Flag) -> str:
    help = flag.help.replace("[", "(").replace("]", ")").replace(":", " ")
    values = f":value:({' '.join(flag.choices)})" if flag.choices else ":value:_files" if flag.takes_value else ""
    return " ".join(_quoted(f"*{name}[{help}]{values}") for name in flag.names)


def _fish(commands: list[Command]) -> str:
    lines = ["# Completion of rulesproxy for fish."]
    for command in commands:
        lines.append(f"complete -c rulesproxy -f -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}")
        seen = f"-n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"complete -c rulesproxy -f {seen} -a {_quoted(' '.join(command.words))}")
        for flag in command.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            values = f" -x -a {_quoted(' '.join(flag.choices))}" if flag.choices else " -r" if flag.takes_value else ""
            lines.append(f"complete -c rulesproxy {seen} {names}{values} -d {_quoted(flag.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
