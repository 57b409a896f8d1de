"""`quintet corpus` from and to S3, which is moto's server.

That has a virtual environment of its own: it does not go with the versions of this project's
packages.
"""

import gzip
import json
import os
import socket
import subprocess
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from tests.model.corpus.commands import Corpus, rows, run
from tests.model.corpus.corpora import sentence, write_jsonl, write_parquet
from tests.server import LogLines

pytestmark = pytest.mark.operations

# What moto's extras `server` and `s3` name, without what other services than S3 need.
PACKAGES = ("moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
TEXTS = 40
OUTPUTS = {"a.parquet": "a", "b.jsonl.parquet": "b", "deep/c.jsonl.gz.parquet": "deep/c"}


@dataclass(frozen=True)
class Store:
    """A running S3 server with an empty bucket `corpora`."""

    url: str
    filesystem: Any

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to name it, and nothing of whoever runs the tests."""
        keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
        return self.without_keys | keys

    @property
    def without_keys(self) -> dict[str, str]:
        files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1"} | files

    def files(self, path: str) -> dict[str, Any]:
        """All files below a path, and when each was written."""
        found = self.filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        return {
            each.path.removeprefix(f"{path}/"): each.mtime_ns
            for each in found
            if each.type == pafs.FileType.File
        }

    def deny(self, bucket: str, names: str) -> None:
        """Nobody may do anything to these files from now on."""
        resource = f"arn:aws:s3:::{bucket}/{names}"
        rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resource}
        policy = {"Version": "2012-10-17", "Statement": [rule]}
        httpx.put(f"{self.url}/{bucket}?policy", content=json.dumps(policy)).raise_for_status()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("moto")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin/pip", "install", "--quiet", "--no-compile", *PACKAGES]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    with subprocess.Popen(
        [folder / "bin/moto_server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            url = LogLines(process.stderr).wait_for(r"Running on (http://\S+)").group(1)
            filesystem = pafs.S3FileSystem(
                access_key="somebody",
                secret_key="secret",  # noqa: S106
                region="us-east-1",
                endpoint_override=url,
                allow_bucket_creation=True,
            )
            filesystem.create_dir("corpora")
            yield Store(url, filesystem)
        finally:
            process.terminate()


def texts_of(name: str) -> list[str]:
    return [sentence(1000 * sum(map(ord, name)) + number) for number in range(TEXTS)]


def ids_of(name: str) -> list[str]:
    """Neither in alphabetic nor in any other order of their own."""
    return [f"{name}-{number * 7 % TEXTS}" for number in range(TEXTS)]


def columns(name: str) -> dict[str, Any]:
    return {"id": ids_of(name), "text": texts_of(name)}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    write_parquet(folder / "in/a.parquet", **columns("a"))
    for name in ("b", "deep/c"):
        lines = pa.table(columns(name)).to_pylist()
        write_jsonl(folder / f"in/{name}.jsonl", lines)
    plain = folder / "in/deep/c.jsonl"
    plain.with_name("c.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return folder


def command(checkpoint: Path, source: object, output: object) -> list[object]:
    """Parts are smaller than files."""
    options = ["--dtype", "float32", "--threads", 1, "--part-texts", 16]
    return [source, output, "--model", checkpoint, *options]


@pytest.fixture(scope="module")
def asked(store: Store, local: Path, original: Path) -> list[object]:
    """The command of a run that has ended well, with the corpus and its vectors in the bucket."""
    pafs.copy_files(str(local / "in"), "corpora/in", destination_filesystem=store.filesystem)
    asked = command(original, "s3://corpora/in", "s3://corpora/out")
    status, said = run(*asked, **store.environment)
    assert status == 0, said
    assert f"3 files: {3 * TEXTS} vectors" in said
    return asked


def test_files_in_a_bucket_get_the_vectors_of_local_ones(
    store: Store, local: Path, original: Path, asked: list[object]
) -> None:
    status, said = run(*command(original, local / "in", local / "out"))
    assert status == 0, said
    assert {*store.files("corpora/out")} == {*OUTPUTS, "_corpus.json"}
    for output, name in OUTPUTS.items():
        ids, vectors = rows(f"corpora/out/{output}", store.filesystem)
        expected_ids, expected = rows(local / "out" / output)
        assert ids == expected_ids == ids_of(name)
        np.testing.assert_array_equal(vectors, expected)


def test_the_next_run_computes_what_is_new_and_says_what_it_may_not_read(
    store: Store, tmp_path: Path, asked: list[object]
) -> None:
    before = store.files("corpora/out")
    status, said = run(*asked, **store.environment)
    assert status == 0, said
    assert "0 files (3 were finished before): 0 vectors" in said
    assert store.files("corpora/out") == before

    for name in ("new", "secret"):
        write_parquet(tmp_path / f"{name}.parquet", **columns(name))
    pafs.copy_files(str(tmp_path), "corpora/in", destination_filesystem=store.filesystem)
    store.deny("corpora", "in/secret.parquet")
    status, said = run(*asked, **store.environment)
    assert status == 2, said
    (left_out,) = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert "corpora/in/secret.parquet: access is denied; check AWS_ACCESS_KEY_ID" in left_out
    assert f"1 files (3 were finished before): {TEXTS} vectors" in said
    after = store.files("corpora/out")
    assert after.keys() - before.keys() == {"new.parquet"}
    assert {name: after[name] for name in before} == before
    assert rows("corpora/out/new.parquet", store.filesystem)[0] == ids_of("new")


def assert_refused(ended: tuple[int, str], *sentences: str) -> None:
    """The command ended with one line on standard error."""
    status, said = ended
    assert status == 1, said
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    for each in sentences:
        assert each in line


@pytest.mark.parametrize(
    ("source", "output", "sentence"),
    [
        ("s3://nowhere/in", "s3://corpora/other", "there is no folder s3://nowhere/in; check its"),
        ("s3://corpora/in", "s3://nowhere/out", "s3://nowhere/out: there is no such bucket; make"),
    ],
)
def test_a_bucket_that_is_not_there_is_a_sentence(
    source: str, output: str, sentence: str, store: Store, asked: list[object], original: Path
) -> None:
    ended = run(*command(original, source, output), **store.environment)
    assert_refused(ended, sentence, "AWS_ENDPOINT_URL")


def test_an_address_where_nobody_answers_is_a_sentence(store: Store, original: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ended = run(
        *command(original, "s3://corpora/in", "s3://corpora/out"),
        **store.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"},
    )
    said = "cannot read s3://corpora/in: nobody answers; check AWS_ENDPOINT_URL"
    assert_refused(ended, said, f"127.0.0.1:{port}")


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Takes connections and never answers, as a firewall in front of a metadata service."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        server.settimeout(60)
        yield server


def test_without_keys_nobody_waits_for_a_metadata_service_that_does_not_answer(
    store: Store, original: Path, silent: socket.socket
) -> None:
    """It is asked once, and then what is not public is refused. The control: let alone, pyarrow
    asks again and again."""
    store.filesystem.create_dir("private")
    store.deny("private", "*")
    asked = command(original, "s3://private/in", "s3://private/out")
    metadata = "http://{}:{}".format(*silent.getsockname())
    environment = store.without_keys | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}
    ended = run(*asked, **environment)
    assert_refused(ended, "cannot read s3://private/in: access is denied; check AWS_ACCESS_KEY_ID")
    silent.accept()[0].close()
    silent.settimeout(0)
    with pytest.raises(BlockingIOError):
        silent.accept()

    silent.settimeout(60)
    Corpus(*asked, **environment, AWS_EC2_METADATA_DISABLED="false")
    for _ in range(3):
        silent.accept()[0].close()
