"""Lets ``python -m batchyard`` do what ``batchyard`` does."""

from __future__ import annotations

from batchyard.cli.main import main

if __name__ == "__main__":
    main()
