"""Batchyard: the Kubernetes-native test bench for agent workflows."""

__version__ = "0.1.0"
