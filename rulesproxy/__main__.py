"""`python -m rulesproxy` and the `rulesproxy` command."""

from __future__ import annotations

import sys

from rulesproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
