"""How property tests run: an example may take its time, since the machine is shared with the other tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("batchyard", deadline=None)
settings.load_profile("batchyard")
