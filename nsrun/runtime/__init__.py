"""Sandboxes and containers: OCI configuration, launch plan, the shim's client, cgroups, seccomp, and the engine."""
