"""nsrun runs Kubernetes pods with nothing but Linux: a kubelet and its container runtime in one small program."""

__all__ = ["__version__"]

__version__ = "0.1.0"
