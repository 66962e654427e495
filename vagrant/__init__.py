"""A virtual machine to run nsrun in: pure cgroup v2, systemd, a distribution's kernel. Standard library only."""
