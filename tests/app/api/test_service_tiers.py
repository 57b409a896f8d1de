"""The field `service_tier`, in OpenAI's words."""

import pytest

from tests.app.answers import assert_error
from tests.server import Service


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/documents"])
def test_the_answer_says_the_tier_where_the_request_does(service: Service, path: str) -> None:
    said = {"flex": "flex", "default": "default", "auto": "default", None: None}
    for asked, used in said.items():
        answer = service.post(path, input="Guten Morgen!", service_tier=asked)
        assert answer.status_code == 200
        assert answer.json().get("service_tier") == used
        assert "x-ignored-fields" not in answer.headers
    assert "service_tier" not in service.post(path, input="Guten Morgen!").json()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/documents"])
@pytest.mark.parametrize("tier", ["priority", "FLEX", "", 1, True, ["flex"]])
def test_another_tier_is_refused_with_those_that_there_are(
    service: Service, path: str, tier: object
) -> None:
    refused = service.post(path, input="x", service_tier=tier)
    assert_error(refused, 422, "VALIDATION_ERROR", "'auto', 'default' or 'flex'")
    assert refused.json()["error"]["param"] == "service_tier"


def test_it_is_a_parameter_of_invocations(service: Service) -> None:
    body = {"data": [{"text": "x"}], "parameters": {"service_tier": "flex"}}
    assert service.post("/invocations", **body).json()["parameters"] == {"service_tier": "flex"}
    misplaced = service.post("/invocations", data=["x"], service_tier="flex")
    assert misplaced.status_code == 422
