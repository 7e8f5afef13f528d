"""The filter language: text to tree (`parse`), tree to typed tree (`check`), typed tree to function (`compile`).

Nothing is imported here: the parser generator is loaded when the first filter is parsed.
"""
