"""nsrun for somebody who is not root: one holder of namespaces per run directory, and the way in."""
