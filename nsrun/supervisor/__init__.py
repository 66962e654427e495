"""Decides what should happen to each pod, and has it done through the Protocols of ``ports``."""
