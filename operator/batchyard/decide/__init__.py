"""Pure policies: what follows from what is known at an instant. No I/O, no clock."""
