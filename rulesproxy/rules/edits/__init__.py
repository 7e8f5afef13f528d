"""Edits of messages, from header fields to JSON and HTML: each changes what a rule names, and no other byte."""
