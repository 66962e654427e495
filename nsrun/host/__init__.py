"""What this machine can do: probed once, as values; and what to do about what it cannot."""
