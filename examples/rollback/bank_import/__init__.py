"""Imports a bank's statement in steps, one of which finds out that an earlier one went wrong."""
