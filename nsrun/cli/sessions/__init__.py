"""Into a container: commands, attachments, files, and programs of the host in its network."""
