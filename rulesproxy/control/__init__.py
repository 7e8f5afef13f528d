"""The control API of a running proxy: what it does, and how to tell it to do something else, over HTTP on this machine.

`server` listens and lets nobody in without the token, `api` answers, `feed` and `metrics` tell, `client` asks. It knows
a `Proxy` by its public face only. starlette and uvicorn are imported when somebody asks for it, never before.
"""
