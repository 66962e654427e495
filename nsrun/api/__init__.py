"""The kubelet's HTTP API, and nsrun's own socket: routes as data, handlers that return values, who may call them."""
