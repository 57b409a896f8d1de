"""The budget of one request: what it charges to its caller's rate limits, and gives back."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from limits.errors import StorageError

from app.access.limits import Charge, MinuteLimit, RateLimits, StorePausedError
from app.errors import LimitReachedError, RequestError, UnavailableError


class Budget:
    """Charges one request; keeps promise 1 of limits.py."""

    def __init__(self, limits: RateLimits, caller: str, headers: dict[str, str]) -> None:
        """What is left is written into `headers`, those of the response."""
        self._limits = limits
        self._caller = caller
        self._headers = headers
        self._charged: dict[str, list[Charge]] = {"requests": [], "tokens": []}
        self._unlimited = False

    async def admit(self) -> None:
        """Charge one request.

        Raises:
            RequestsPerMinuteError: nothing was charged.
        """
        with self._store():
            self._limits.check_store()
            if self._limits.tokens:
                await self._limits.tokens.read(self._caller, self._headers)
            if self._limits.requests:
                await self._charge(self._limits.requests, "requests", 1)

    @contextlib.asynccontextmanager
    async def spend(self, tokens: int) -> AsyncIterator[None]:
        """Charge tokens; if the block is refused, give back all that the request was charged.

        Raises:
            TokenLimitError: the request alone is over the limit, so it never passes.
            TokensPerMinuteError: it is over the limit now.
        """
        try:
            with self._store():
                self._limits.check_store()
                self._limits.check_tokens(tokens)
                if self._limits.tokens:
                    await self._charge(self._limits.tokens, "tokens", tokens)
            yield
        except (RequestError, UnavailableError):  # refused, here or by the engine
            await self.give_back()
            raise

    async def _charge(self, limit: MinuteLimit, unit: str, cost: int) -> None:
        charge = await limit.charge(self._caller, cost, self._headers)
        self._charged[unit].append(charge)

    async def give_back(self) -> None:
        """Undo all charges: the request is refused."""
        for unit, limit in (("requests", self._limits.requests), ("tokens", self._limits.tokens)):
            charges, self._charged[unit] = self._charged[unit], []
            if limit and charges:
                with self._store():
                    self._limits.check_store()
                    for charge in charges:
                        await limit.give_back(self._caller, charge)
                    await limit.read(self._caller, self._headers)

    @contextlib.contextmanager
    def _store(self) -> Iterator[None]:
        """A block that uses the store: refusals are counted, and where the store fails the block
        ends without an error."""
        try:
            yield
        except LimitReachedError as refusal:
            self._limits.metrics.refused.labels(refusal.reason).inc()
            raise
        except (StorageError, StorePausedError) as error:
            self._limits.store_failed(error)
            if not self._unlimited:
                self._limits.metrics.unlimited.inc()
            self._unlimited = True
        else:
            self._limits.store_answered()
