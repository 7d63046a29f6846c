"""Which trials are run a second time to compare, and what the comparison says of the batch. Pure."""

from __future__ import annotations

import hashlib

from batchyard.decide.finish import EXIT_FAILED, EXIT_PLACE_FAILED, EXIT_SUCCEEDED, exit_code
from batchyard.model.outcome import Phase, Reason, Verdict
from batchyard.model.status import Truth

_NOT_BY_ITSELF = frozenset(
    {
        Reason.BATCH_DEADLINE_EXCEEDED,
        Reason.BATCH_BUDGET_EXCEEDED,
        Reason.ENVIRONMENT_DEADLINE_EXCEEDED,
        Reason.ENVIRONMENT_FAILED,
        Reason.FAIL_FAST,
        Reason.INVALID_SPEC,
    }
)


def sample(total: int, size: int, seed: str) -> tuple[int, ...]:
    """Return ``size`` of the numbers below ``total``, ascending: the same ones for the same seed, for ever.

    One is taken from each of ``size`` equal parts, so that no combination is left out that need not be.
    """
    size = min(total, size)
    chosen = []
    for part in range(size):
        first, after = part * total // size, (part + 1) * total // size
        digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
        chosen.append(first + int.from_bytes(digest[:8], "big") % (after - first))
    return tuple(chosen)


def is_comparable(phase: Phase, reason: str) -> bool:
    """Return whether a batch came to an end of its own making, so that its trials can be held against others."""
    return phase in {Phase.SUCCEEDED, Phase.FAILED} and reason not in _NOT_BY_ITSELF


def exit_code_of(phase: Phase, reason: str, verified: Truth | None) -> int:
    """Return the exit code of a command that ran a batch to this end, and compared it or did not."""
    return with_parity(exit_code(Verdict(phase.value), reason), verified)


def with_parity(code: int, verified: Truth | None) -> int:
    """Return the exit code of a command whose batch ended with ``code`` and was compared.

    The verdict is the batch's own. A command that was asked for a comparison does not succeed without it, though.
    """
    if code != EXIT_SUCCEEDED or verified in {None, Truth.TRUE}:
        return code
    return EXIT_FAILED if verified is Truth.FALSE else EXIT_PLACE_FAILED
