"""Budget: one request's way through the limits of its caller."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from limits.errors import StorageError

from app.access.limits import LimitReachedError, Limits, PerMinute, StoreAwayError
from app.errors import RequestError, UnavailableError

_AWAY = (StorageError, StoreAwayError)


class Budget:
    """What one request has been charged; promise 1 of limits.py is kept here."""

    def __init__(self, limits: Limits, caller: str, headers: dict[str, str]) -> None:
        """What is left comes into `headers`, which the answer gets, whatever it is."""
        self._limits = limits
        self._caller = caller
        self._headers = headers
        self._charged = {"requests": 0, "tokens": 0}
        self._unlimited = False

    async def admit(self) -> None:
        """Charge one request.

        Raises:
            RequestsPerMinuteError: nothing was charged.
        """
        with self._guard():
            self._limits.ask()
            if self._limits.tokens:
                await self._limits.tokens.show(self._caller, self._headers)
            if self._limits.requests:
                await self._charge(self._limits.requests, "requests", 1)

    @contextlib.asynccontextmanager
    async def spend(self, tokens: int) -> AsyncIterator[None]:
        """Charge tokens; they are given back if what the block does is refused.

        Raises:
            TokenLimitError: the request alone is over a limit, so it never passes.
            TokensPerMinuteError: it is over the limit now.
        """
        try:
            with self._guard():
                self._limits.ask()
                self._limits.check_alone(tokens)
                if self._limits.tokens:
                    await self._charge(self._limits.tokens, "tokens", tokens)
            yield
        except (RequestError, UnavailableError):  # refused, here or by the engine
            await self.give_back()
            raise

    async def _charge(self, limit: PerMinute, what: str, cost: int) -> None:
        await limit.charge(self._caller, cost, self._headers)
        self._charged[what] += cost

    async def give_back(self) -> None:
        """The request is refused for want of room: it costs nothing."""
        for what, limit in (("requests", self._limits.requests), ("tokens", self._limits.tokens)):
            cost, self._charged[what] = self._charged[what], 0
            if limit and cost:
                with self._guard():
                    self._limits.ask()
                    await limit.give_back(self._caller, cost)
                    await limit.show(self._caller, self._headers)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Around all that asks a store: refusals are counted, a store that is away is passed by."""
        try:
            yield
        except LimitReachedError as refusal:
            self._limits.metrics.refused.labels(refusal.reason).inc()
            raise
        except _AWAY as error:
            self._limits.away(error)
            if not self._unlimited:
                self._limits.metrics.unlimited.inc()
            self._unlimited = True
        else:
            self._limits.back()
