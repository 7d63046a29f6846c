"""Batchyard: the Kubernetes-native test bench for agent workflows."""

from batchyard.reporting import report
from batchyard.trial_folder import workspace

__all__ = ["__version__", "report", "workspace"]

__version__ = "0.1.0"
