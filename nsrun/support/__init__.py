"""What every layer may use: clock, owned fds, atomic files, the layout of the disk, CRI log lines, the native doorway."""
