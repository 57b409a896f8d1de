"""POST /tokenize: what the model reads, and what counts."""

import numpy as np
import pytest

from model.embedder import Embedder
from model.rows import Row
from model.tokenizer import RowOptions
from tests.app.answers import SKINCARE, assert_error, cosines
from tests.checkpoints import TASKS
from tests.server import Service


@pytest.mark.parametrize("task", TASKS)
def test_tokenize_says_what_the_model_reads_and_what_counts(
    service: Service, quintet: Embedder, task: str
) -> None:
    answer = service.post("/tokenize", input=[*SKINCARE, ""], task=task).json()
    tokenized = quintet.tokenizer.rows([*SKINCARE, ""], quintet.tasks.by_name(task))
    for each, row in zip(answer["inputs"], tokenized.rows, strict=True):
        assert each["token_ids"] == row.token_ids.tolist()
        assert each["fits"] is True
    charged = service.embed(input=[*SKINCARE, ""], task=task).json()["usage"]["total_tokens"]
    counts = [each["tokens"] for each in answer["inputs"]]
    assert sum(counts) + 2 * len(counts) == charged
    assert (answer["total_tokens"], answer["task"], answer["max_tokens"]) == (
        sum(counts),
        task,
        8192,
    )
    late = service.embed(input=[*SKINCARE, ""], task=task, late_chunking=True).json()["usage"]
    assert late["total_tokens"] == answer["total_tokens"] + 2


def test_tokenize_counts_what_does_not_fit_and_leaves_ids_out_when_asked(service: Service) -> None:
    inputs = ["a " * 8192, "b " * 8193]
    answer = service.post("/tokenize", input=inputs, counts_only=True).json()
    assert [(each["tokens"], each["fits"]) for each in answer["inputs"]] == [
        (8192, True),
        (8193, False),
    ]
    assert not any("token_ids" in each for each in answer["inputs"])
    assert answer["fits_late_chunking"] is False
    refused = service.post("/tokenize", input="x", task="nope")
    assert_error(refused, 422, "VALIDATION_ERROR", "unknown task 'nope'")
    refused = service.post("/tokenize", input=[1])
    assert_error(refused, 400, "INPUT_TOKEN_IDS_UNSUPPORTED", "token ids")


def test_tokenize_names_what_it_ignores(service: Service) -> None:
    answer = service.post("/tokenize", input={"text": "a", "url": "x"}, seed=1)
    assert answer.headers["x-ignored-fields"] == "input.url, seed"


def test_rows_of_the_tokenizer_are_rows_of_the_model(quintet: Embedder) -> None:
    """What /tokenize shows is what is embedded: the ids alone give the same vector."""
    task = quintet.tasks.by_name("retrieval.query")
    (row,) = quintet.tokenizer.rows(["x y"], task, RowOptions(counting=True)).rows
    found = quintet.embed(
        [Row.single_span(np.array(row.token_ids.tolist(), np.int32), task.adapter)]
    )
    assert cosines(found, quintet.embed_texts(["x y"], "retrieval.query")).min() > 0.9995
