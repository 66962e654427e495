"""Builds the images of the demo and the tests from distribution packages: no Docker, no registry."""
