"""Images: from a reference to verified blobs, unpacked layers, and a configuration."""
