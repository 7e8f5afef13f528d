"""Rules without a network: dry runs, recordings, and the tests in rule files."""
