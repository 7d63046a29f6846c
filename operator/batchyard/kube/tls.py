"""TLS for the operator's endpoints: a certificate from files, loaded anew when they change.

Not for making certificates. Connections that exist keep the certificate they began with.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 10.0


class TlsFiles:
    """A server's certificate and key, as PEM files that somebody else renews."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load them. Raises ``EnvironmentUnavailable`` if they cannot be used."""
        self._certificate = certificate
        self._key = key
        self._seen = self._stamp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._load(self.context)
        except (OSError, ssl.SSLError) as err:
            raise EnvironmentUnavailable(
                f"TLS: the certificate {certificate} with the key {key} cannot be used: {err}; check both files"
            ) from err

    def reload(self) -> bool:
        """Load the files anew if they changed; return whether new connections get another certificate.

        Files that cannot be used, such as a key whose certificate is still to come, change nothing; they are tried
        again at the next call.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            # First into a context of no use: half a load would leave the real one broken.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except (OSError, ssl.SSLError) as err:
            _log.warning("the new TLS certificate cannot be used; the old one stays", error=str(err))
            return False
        self._seen = stamp
        _log.info("the TLS certificate was loaded anew")
        return True

    @asynccontextmanager
    async def watched(self, seconds: float = _LOOK_SECONDS) -> AsyncIterator[None]:
        """Reload when the files change, while the context lasts."""
        watching = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.reload()

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._certificate, self._key)

    def _stamp(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            stats = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)
