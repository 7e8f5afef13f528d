"""Rules for what passes in a conversation: messages of WebSockets and of raw TCP, events of event streams."""
