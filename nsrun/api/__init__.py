"""The kubelet's read-only HTTP API and nsrun's own socket: routes as data, handlers that return values."""
