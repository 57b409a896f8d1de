"""The judge of the load tests: an answer that is not this request's own is called wrong."""

import httpx
import pytest

from tests.checkpoints import TASKS
from tests.exchange import OK, Answer
from tests.mixture import WRONG, Mixture, bodies, judge_for, vectors
from tests.server import Service

BODY = {"input": ["alpha beta gamma", "winter tax bread"], "task": "separation", "dimensions": 64}


def ask(service: Service, **changed: object) -> Answer:
    answer = service.embed(**{**BODY, **changed})
    return Answer(answer.status_code, answer.headers, answer.content)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, OK),
        ({"embedding_type": "base64"}, OK),
        *(({"task": task}, WRONG) for task in TASKS if task != BODY["task"]),
        ({"input": ["alpha beta gamma", "winter tax soup"]}, WRONG),
        ({"input": BODY["input"][::-1]}, WRONG),
        ({"input": BODY["input"][:1]}, WRONG),
        ({"dimensions": 32}, WRONG),
        ({"late_chunking": True}, WRONG),
        ({"task": "no such task"}, "422 without Retry-After"),
    ],
)
def test_another_tasks_or_texts_vectors_are_wrong(
    service: Service, changed: dict[str, object], word: str
) -> None:
    judge = judge_for(vectors(ask(service).body))
    assert judge(ask(service, **changed)) == word


def test_no_request_of_a_mixture_takes_its_neighbours_answer(service: Service) -> None:
    mixture = Mixture(service.url, bodies(rounds=1))
    with httpx.Client() as client:
        answers = [_sent(client, service, each.wire) for each in mixture.requests]
    for own, request in enumerate(mixture.requests):
        words = [request.judge(answer) for answer in answers]
        assert words.count(OK) == 1
        assert words[own] == OK


def _sent(client: httpx.Client, service: Service, wire: bytes) -> Answer:
    body = wire.partition(b"\r\n\r\n")[2]
    answer = client.post(f"{service.url}/v1/embeddings", content=body, timeout=60)
    return Answer(answer.status_code, answer.headers, answer.content)
