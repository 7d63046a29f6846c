"""The product's own API client, connected to the tests' cluster."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from batchyard.apiserver.connecting import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchyard.apiserver.client import ApiClient


@asynccontextmanager
async def connected() -> AsyncIterator[ApiClient]:
    """Connect as KUBECONFIG says."""
    async with await connect() as api:
        yield api
    # A watch that was cut off says goodbye to the server in the background; a loop that ends before leaves its socket.
    await asyncio.sleep(1)
