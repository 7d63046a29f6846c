"""Executions that a person holds: durable on this machine, and run by the engine's own runners. See docs/adr."""
