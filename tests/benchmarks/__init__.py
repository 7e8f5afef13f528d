"""Measures proxies side by side in one run. It knows commands, ports and numbers, not how a proxy works inside."""
