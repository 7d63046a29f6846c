"""Runners and the workers they lead."""
