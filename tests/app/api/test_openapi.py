"""The served document against the service: generated requests get documented answers, no 500."""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.server import Service

# Phases: examples of the document, edge cases field by field, random ones, and calls in sequence.
EXAMPLES = "40"


def test_generated_requests_get_documented_answers(service: Service, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    checks += ",response_schema_conformance,response_headers_conformance"
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "run"),
        f"{service.url}/openapi.json",
        *("--checks", checks, "--max-examples", EXAMPLES, "--no-color"),
        *("--request-timeout", "60"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--warnings", "off"),  # that ids of batch jobs are made up, so that there are none such
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    print(done.stdout[:4000], done.stdout[-4000:], sep="\n...\n")  # what failed, and the seed
    assert done.returncode == 0, done.stderr
    assert "No issues found" in done.stdout


def test_what_is_refused_before_there_is_a_route_is_documented_at_each_route(
    service: Service,
) -> None:
    foreign, large = {"host": "evil.example"}, {"x-large": "a" * 33_000}
    described = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    with service.client() as caller:
        for path, operations in described.items():
            for method, operation in operations.items():
                for headers, refused in (foreign, "403"), (large, "431"):
                    answer = caller.request(method, path, headers=headers)
                    documented = refused in operation["responses"]
                    assert (str(answer.status_code) == refused) == documented, (method, path)
                    if documented:
                        content = operation["responses"][refused]["content"]
                        (reference,) = content["application/json"]["schema"].values()
                        own = reference.endswith("/ErrorBody")
                        assert own == ("request_id" in answer.json()), (method, path)
