"""Hosts and origins: under which names the service answers, and whose pages may use it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from starlette.requests import Request

from app.access.keyfile import add_key
from app.api.hosts import HostPolicy
from app.errors import HostError, OriginError
from app.settings import Settings, SettingsError, read_settings
from app.telemetry.metrics import Metrics
from tests.app.answers import assert_error
from tests.operations.wire import statuses, talk
from tests.server import Service, bearer, running

APP = "https://app.example"


def hosts(**settings: Any) -> HostPolicy:
    return HostPolicy(Settings(**settings), Metrics("0", "m"))


def request(method: str = "POST", path: str = "/v1/embeddings", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), each.encode()) for name, each in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}
    return Request(scope)


OWN = ["localhost", "localhost:8080", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:80"]
OWN += ["127.1.2.3:8080", "[::1]", "[::1]:8080", "quintet.localhost:8080", ""]
FOREIGN = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"]
FOREIGN += [
    "192.168.1.7",
    "[fe80::1]:80",
    "10.0.0.0",
    "evil@localhost",
    "localhost/x",
    "a b",
    "::1",
]


@pytest.mark.parametrize("host", OWN)
def test_its_own_names_are_taken(host: str) -> None:
    hosts().check(request(host=host))
    hosts().check(request())  # HTTP/1.0


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_refused_where_nobody_is_asked_for_a_key(host: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(HostError, match="EMBED_ALLOWED_HOSTS"):
            hosts().check(request(method, host=host))
    hosts().check(request("GET", "/ready", host=host))
    for settings in (
        {"keys_file": "keys"},
        {"host": "0.0.0.0", "open": True},  # noqa: S104
        {"allowed_hosts": "*"},
    ):
        hosts(**settings).check(request(host=host))


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])
def test_what_is_no_name_is_foreign_wherever_the_service_listens(host: str) -> None:
    policy = hosts(host=host)
    for own in ("[::1]:8080", "127.0.0.1:8080"):
        policy.check(request(host=own))
    with pytest.raises(HostError):
        policy.check(request(host="evil..com:80:80"))
    with pytest.raises(OriginError):
        policy.check(request(host="[::1]:8080", origin="null"))


def test_named_hosts_are_taken_and_then_only_they() -> None:
    named = hosts(allowed_hosts="Quintet.lan, embeddings.example", keys_file="keys")
    for host in ("quintet.LAN:8080", "embeddings.example.", "127.0.0.1"):
        named.check(request(host=host))
    with pytest.raises(HostError):
        named.check(request(host="evil.example"))


def test_an_address_is_the_same_in_every_form() -> None:
    for written in ("fe80:0::1", "[FE80::1]", "[fe80::1]:8080"):
        named = hosts(allowed_hosts=written, keys_file="keys")
        for host in ("[fe80::1]", "[fe80::1]:80", "[fe80:0:0:0:0:0:0:1]:8080"):
            named.check(request(host=host))
        for host in ("[fe80::2]", "[fe80:::1]", "fe80"):
            with pytest.raises(HostError):
                named.check(request(host=host))
    hosts().check(request(host="[0:0:0:0:0:0:0:1]:8080"))


NO_HOSTS = [
    "https://q.example",
    "q.example/",
    "*.example",
    ".example",
    "*:8080",
    "a b",
    "ü.example",
]
NO_HOSTS += ["[q.example]", "fe80::1%eth0", "1:2:3", "q.example:http", "q..example", "@q.example"]


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_no_host_header_could_match_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("EMBED_ALLOWED_HOSTS", f"q.example,{host}")
    said = rf"EMBED_ALLOWED_HOSTS: {re.escape(host)} is no host, which is a whole name"
    with pytest.raises(SettingsError, match=said):
        read_settings()


@pytest.mark.parametrize("name", ["ALLOWED_HOSTS", "CORS_ORIGINS", "DEVICES", "DIALECTS"])
def test_a_list_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Hosts would all be allowed."""
    monkeypatch.setenv(f"EMBED_{name}", " , ")
    with pytest.raises(SettingsError, match=f"EMBED_{name}: name at least one, or leave the var"):
        read_settings()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8080"},  # the playground
        {"origin": "http://localhost:8080", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "https://q.example", "x_forwarded_host": "q.example"},
        {"origin": "https://q.example", "sec_fetch_site": "same-origin"},  # behind a proxy
        {},  # no page at all
    ],
)
def test_its_own_pages_and_programs_may_post(headers: dict[str, str]) -> None:
    hosts().check(request(host="localhost:8080", **headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": APP},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://localhost:3000", "sec_fetch_site": "same-site"},
        {"origin": APP, "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
    ],
)
def test_other_pages_may_not_post_unless_they_are_named(headers: dict[str, str]) -> None:
    sent = request(host="localhost:8080", content_type="text/plain", **headers)
    with pytest.raises(OriginError, match="EMBED_CORS_ORIGINS"):
        hosts().check(sent)
    hosts().check(request("GET", host="localhost:8080", **headers))
    hosts(cors_origins="*").check(sent)
    hosts(keys_file="keys").check(sent)
    if origin := headers.get("origin"):
        hosts(cors_origins=f"https://x.example,{origin}").check(sent)
        with pytest.raises(OriginError):
            hosts(cors_origins="https://x.example").check(sent)


def test_a_page_of_an_allowed_host_is_its_own() -> None:
    own = hosts(allowed_hosts="q.example")
    own.check(request(host="127.0.0.1:8080", origin="https://q.example"))


NO_ORIGINS = ["app.example", "https://app.example/", "https://", "x y"]
NO_ORIGINS += ["https://*.example", "https://me@app.example", "https://ü.example"]


@pytest.mark.parametrize("origin", NO_ORIGINS)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("EMBED_CORS_ORIGINS", origin)
    with pytest.raises(SettingsError, match=r"EMBED_CORS_ORIGINS: .*scheme and a host"):
        read_settings()


def test_origins_are_compared_as_browsers_send_them() -> None:
    written = "HTTPS://App.example:443,http://b.example:80,https://c.example:80,http://[::1]:80"
    for origin in (APP, "http://b.example", "https://c.example:80", "http://[::1]"):
        hosts(cors_origins=written).check(request(host="localhost", origin=origin))


def test_over_the_wire(service: Service) -> None:
    tokens = service.metric("tokens_total")
    body = {"input": "x"}
    url = f"{service.url}/v1/embeddings"
    rebound = httpx.post(url, json=body, headers={"host": "evil.example"})
    assert_error(rebound, 403, "HOST_NOT_ALLOWED", "'evil.example' is no name of this service")
    headers = {"origin": "http://evil.example", "content-type": "text/plain"}
    simple = httpx.post(url, content=b'{"input": "x"}', headers=headers)
    assert_error(simple, 403, "ORIGIN_NOT_ALLOWED", "pages of 'http://evil.example'")
    assert "access-control-allow-origin" not in simple.headers
    assert service.metric("tokens_total") == tokens
    text = httpx.get(f"{service.url}/metrics").text
    for reason in ("foreign host", "foreign origin"):
        assert re.search(rf'^quintet_refused_total{{reason="{reason}"}} [1-9]', text, re.MULTILINE)
    assert statuses(talk(service.url, b"GET /info HTTP/1.0\r\n\r\n")) == [200]
    two = b"GET /info HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert statuses(talk(service.url, two)) == [403]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    return file, add_key(file, "page")


@pytest.fixture(scope="module")
def shared(key: tuple[Path, str]) -> Iterator[Service]:
    """A service with keys that lets two origins in."""
    with running(keys_file=key[0], cors_origins=f"{APP.upper()},http://b.example") as service:
        yield service


def preflight(service: Service, path: str, **headers: str) -> httpx.Response:
    asked = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
        **headers,
    }
    return httpx.options(service.url + path, headers=asked)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings/", "/tokenize", "/nope"])
def test_a_preflight_needs_no_key(shared: Service, path: str) -> None:
    answer = preflight(shared, path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    assert answer.headers["x-request-id"]
    private = preflight(shared, path, **{"access-control-request-private-network": "true"})
    assert private.headers["access-control-allow-private-network"] == "true"
    other = preflight(shared, path, origin="https://evil.example")
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


def test_answers_and_errors_can_be_read_by_the_page(shared: Service, key: tuple[Path, str]) -> None:
    with shared.client(headers={"origin": APP, **bearer(key[1])}) as client:
        good = client.post("/v1/embeddings", json={"input": "x", "foo": 1})
        refused = [
            client.post("/v1/embeddings", json={"input": "x", "taks": 1}),
            client.post("/v1/embeddings", json={"input": "x"}, headers=bearer("wrong")),
            client.get("/nope"),
            client.get("/live", headers={"x-long": "a" * 33_000}),
        ]
        assert [each.status_code for each in (good, *refused)] == [200, 422, 401, 404, 431]
        for answer in (good, *refused):
            assert answer.headers["access-control-allow-origin"] == APP
            # Names, or all of them: a request with a key in a header has no credentials.
            assert answer.headers["access-control-expose-headers"] == "*"
            assert "origin" in answer.headers["vary"].lower()
        assert good.headers["x-ignored-fields"] == "foo"
        evil = client.post("/tokenize", json={"input": "x"}, headers={"origin": "http://e.example"})
        assert evil.status_code == 200  # it has a key; its page cannot read the answer
        assert "access-control-allow-origin" not in evil.headers


def test_there_is_no_cors_unless_it_is_asked_for(service: Service) -> None:
    assert preflight(service, "/v1/embeddings").status_code == 405
    answer = httpx.get(f"{service.url}/v1/models", headers={"origin": APP})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("header", ["api-key", "x-api-key", "x-goog-api-key"])
def test_a_key_may_come_in_the_headers_of_other_services(
    shared: Service, key: tuple[Path, str], header: str
) -> None:
    url = f"{shared.url}/v1/models"
    assert httpx.get(url, headers={header: key[1]}).status_code == 200
    assert (
        httpx.get(url, headers={header: key[1], "authorization": "Basic eDp5"}).status_code == 200
    )
    wrong = httpx.get(url, headers={header: "wrong"})
    assert_error(wrong, 401, "AUTH_INVALID_API_KEY", "this key is not known")
    both = httpx.get(url, headers={header: key[1], **bearer("wrong")})
    assert_error(both, 401, "AUTH_INVALID_API_KEY", "this key is not known")
    assert_error(
        httpx.get(url, headers={header: ""}), 401, "AUTH_MISSING_API_KEY", "asks for a key"
    )


def test_no_other_address_of_a_route_goes_without_a_key(shared: Service) -> None:
    for path in ("/embeddings", "/v1/embeddings/", "/openai/v1/embeddings", "/openai/embeddings"):
        assert httpx.post(shared.url + path, json={"input": "x"}).status_code == 401
    for path in ("/models", "/openai/models", "/openai/v1/models/", "/models/quintet-mini"):
        assert httpx.get(shared.url + path).status_code == 401


def test_azures_client_brings_its_key(shared: Service, key: tuple[Path, str]) -> None:
    options = {"azure_endpoint": shared.url, "api_version": "2024-10-21"}
    with openai.AzureOpenAI(**options, api_key=key[1]) as client:
        assert client.embeddings.create(model="quintet-mini", input="x").data
    with (
        openai.AzureOpenAI(**options, api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.embeddings.create(model="quintet-mini", input="x")
    assert caught.value.code == "invalid_api_key"
