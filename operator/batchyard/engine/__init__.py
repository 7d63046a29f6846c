"""What moves a batch: the session, and the Protocols of everything it needs."""
