"""The only asynchronous I/O: sockets as streams, the listeners, dialling, and the watch on files."""
