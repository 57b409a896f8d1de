"""What each program here tells the test: the requests it made, in our words, and what it got.

A program is run with the service's address and reads texts from standard input as a JSON list.
"""

import json
import os
import sys

# Nothing a client wants to send elsewhere (telemetry, model lists) leaves this machine.
os.environ.update(
    ANONYMIZED_TELEMETRY="False",
    HAYSTACK_TELEMETRY_ENABLED="False",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    JINA_API_KEY="none",
)

URL = sys.argv[1]
TEXTS = json.load(sys.stdin)
MODEL = "quintet-mini"


def tell(*cases: tuple[dict, list]) -> None:
    """Print (request, vectors) pairs for the test to compare."""
    told = [
        {"request": request, "vectors": [list(map(float, vector)) for vector in vectors]}
        for request, vectors in cases
    ]
    print(json.dumps(told))
