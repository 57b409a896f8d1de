"""What alerts, runbooks and the dashboard say of a service is so: the routes that they count, and
words of its log."""

import re
from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.operations.test_metrics import ALERTS, alert_expressions, dashboard_expressions
from tests.server import Service, running

pytestmark = pytest.mark.operations


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(log_format="json") as service:
        yield service


def counted_routes(service: Service) -> dict[str, str]:
    """Each address with a body that is documented, and POST / -> the route it is counted as."""
    described = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    addresses = ["/", *(path for path, methods in described.items() if "post" in methods)]
    found, before = {}, requests_by_route(service)
    with service.client() as caller:
        for address in addresses:
            caller.post(address.replace("{name}", "quintet-mini").replace("{id}", "none"), json={})
            after = requests_by_route(service)
            (found[address],) = (name for name in after if after[name] > before.get(name, 0))
            before = after
    return found


def requests_by_route(service: Service) -> dict[str, float]:
    """Requests so far, but for those for metrics."""
    text = httpx.get(f"{service.url}/metrics", timeout=30).text
    totals: dict[str, float] = {}
    for route, value in re.findall(
        r'^quintet_requests_total\{route="(.+?)",.* (\S+)$', text, re.MULTILINE
    ):
        if route != "/metrics":
            totals[route] = totals.get(route, 0) + float(value)
    return totals


def test_alerts_and_panels_count_each_route_that_answers_with_vectors_and_no_other(
    service: Service,
) -> None:
    described = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    # A route that refuses another space than the caller's has vectors.
    with_vectors = {
        path
        for path, methods in described.items()
        if "412" in methods.get("post", {"responses": ()})["responses"]
    }
    counted = counted_routes(service)
    expressions = (*dashboard_expressions(), *alert_expressions())
    patterns = {each for text in expressions for each in re.findall(r'route=~\s*"(.+?)"', text)}
    assert patterns
    for pattern in patterns:
        matched = {path for path, route in counted.items() if re.fullmatch(pattern, route)}
        assert matched == {"/", *with_vectors}, pattern
        assert not re.fullmatch(pattern, "/"), "that is the page"


def test_what_a_runbook_has_one_look_for_stands_in_the_log(service: Service) -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    runbooks = " ".join(
        rule["annotations"]["runbook"] for group in groups for rule in group["rules"]
    )
    (field,) = re.findall(r'"status":.*?500', runbooks)
    answer = service.embed(input="x")
    line = service.log.wait_for(rf'.*"{answer.headers["x-request-id"]}"').group()
    assert field.replace("500", str(answer.status_code)) in line
