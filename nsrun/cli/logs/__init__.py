"""Which logs are meant, and how they are shown."""
