"""exec, attach and portForward: what goes between a session's descriptors, or a socket, and a client."""
