"""A pod's volumes: one file per source, and the service that prepares and removes them."""
