"""The engine: which addons there are, and how their handlers are called.

`dispatch` calls handlers · `bind` finds them · `lifecycle` is one addon's life · `manager` the chain's · `options` and
`commands` are what addons and people set and call · `context` is `ctx` · `script` loads files · `log` · `watchdog`.
"""
