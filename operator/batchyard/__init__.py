"""Batchyard: the Kubernetes-native test bench for agent workflows."""

from batchyard.reporting import report

__all__ = ["__version__", "report"]

__version__ = "0.1.0"
