"""The field `service_tier` of requests and answers, in OpenAI's words."""

from typing import Literal

# What a request may ask for: `auto` and `default` are the interactive lane.
ServiceTier = Literal["auto", "default", "flex"]
# What an answer says.
UsedTier = Literal["default", "flex"]

TIER = "service_tier"
FLEX: Literal["flex"] = "flex"


def answered(asked: ServiceTier | None) -> dict[str, UsedTier]:
    """The field of an answer, where the request had it."""
    if asked is None:
        return {}
    return {TIER: FLEX if asked == FLEX else "default"}
