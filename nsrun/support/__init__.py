"""What every layer may use: clock, owned fds, atomic files, layout of the disk, CRI log lines, the native doorway."""
