"""The daemon: its flags, its settings, its start."""
