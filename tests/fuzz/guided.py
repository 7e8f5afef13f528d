"""The process that atheris owns: `python -m tests.fuzz.guided TARGET [libFuzzer options]`."""

from __future__ import annotations

import sys


def main() -> None:
    """Fuzz one target until libFuzzer has had enough; the first finding ends it."""
    import atheris

    with atheris.instrument_imports(include=["rulesproxy"]):
        from tests.fuzz.targets import TARGETS

    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
