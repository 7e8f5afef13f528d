"""Several processes that serve one address, for more than one core: `run --workers N`.

`supervisor` is the process that the user has started. It checks rule files and owns the listening sockets, and serves
nobody. `fleet` keeps the worker processes alive and has them all take over new rules in two phases, with `process` for
each; `worker` is the other end, inside a worker; `channel` carries messages between the two, and `bundle` the bytes of
rule files in them. A worker is a `Proxy` like that of a single process: nothing of this is in the way of a request.
"""
