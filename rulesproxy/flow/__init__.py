"""Flows and what they are made of: plain, mutable data without I/O."""
