"""The command `quintet`: its words, their help, and what they need."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.__main__ import command_line, main
from model.config import CheckpointError
from model.extras import DISTRIBUTION, MODULES, how_to_install, missing
from model.precision import precision_named
from tests.app.tools.command import run_with_closed
from tests.test_installed import PROJECT, ROOT

WORDS = [
    *("serve", "batches", "embed", "corpus", "tokens", "bench", "keys", "verify"),
    *("evaluate", "train", "openapi"),
    "settings",
]
EXTRAS = {"corpus": "ray", "evaluate": "evaluate", "train": "training"}
HEAVY = ("torch", *(module for modules in MODULES.values() for module in modules))
DOCUMENTS = (
    *("README.md", "app/README.md", "docker/README.md", "docker/kubernetes/README.md"),
    *("model/corpus/README.md", "model/evaluate/README.md", "model/mini/README.md"),
    "model/training/README.md",
)


def test_its_names_are_those_of_the_project() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["scripts"] == {"quintet": "app.__main__:main"}


def test_every_help_is_there_without_what_its_command_needs() -> None:
    asked = [[], *([word] for word in WORDS), ["train", "adapter"], ["train", "mini"]]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY}))\n"  # to import one of them is an ImportError
        "from app.__main__ import main\n"
        f"for words in {asked}:\n"
        "    try:\n"
        "        main([*words, '--help'])\n"
        "    except SystemExit as end:\n"
        "        print('END', end.code)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *shown, rest = done.stdout.split("END 0\n")
    assert rest == ""
    assert len(shown) == len(asked)
    for words, text in zip(asked, shown, strict=True):
        assert text.startswith(f"usage: {' '.join(['quintet', *words])} ")
        extra = EXTRAS.get(words[0] if words else "")
        assert ("It needs the extra" in text) == (extra is not None)
        if extra:
            assert f"`{extra}`: {how_to_install(extra)}\n" in text
    assert all(re.search(rf"^    {word} ", shown[0], re.MULTILINE) for word in WORDS)


def test_a_help_names_every_dtype_that_there_is() -> None:
    with pytest.raises(CheckpointError) as refusal:
        precision_named("nothing", torch.device("cpu"), 384)
    _, _, dtypes = str(refusal.value).rstrip(".").partition("choose ")
    for word in ("corpus", "evaluate"):
        command = [sys.executable, "-m", "app", word, "--help"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert f"{dtypes} (default)" in " ".join(shown.split()), word


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ("corpus in out", "ray"),
        ("evaluate --data nowhere", "evaluate"),
        ("train adapter --base quintet-mini --task a --data nowhere --out out", "training"),
        ("train mini --corpora nowhere --teacher nowhere --out out", "training"),
    ],
)
def test_a_command_without_its_extra_is_one_sentence_and_exit_status_2(
    arguments: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = MODULES[extra][-1]
    monkeypatch.setitem(sys.modules, lacking, None)
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (sentence,) = err.splitlines()
    assert f"({lacking})" in sentence
    assert sentence.endswith(how_to_install(extra))


@pytest.mark.parametrize("extra", [extra for extra in MODULES if not missing(extra)])
def test_an_extra_is_missing_when_one_of_its_distributions_is(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [Requirement(each).name for each in PROJECT["optional-dependencies"][extra]]
    brought = packages_distributions()
    of_modules = {canonicalize_name(brought[module][0]) for module in MODULES[extra]}
    assert of_modules == {canonicalize_name(name) for name in named}
    assert missing(extra) == []
    for module in MODULES[extra]:
        with monkeypatch.context() as without:
            without.setitem(sys.modules, module, None)
            assert missing(extra) == [module]


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_in_a_checkout_a_hint_keeps_the_environment_that_make_has_made(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))
    assert how_to_install(extra) == f"make extras={extra} (in {ROOT})"
    monkeypatch.setattr(sys, "prefix", "/another one")
    assert how_to_install(extra) == f"make extras={extra} VENV='/another one' (in {ROOT})"
    monkeypatch.setattr(sys, "prefix", "/usr")  # no virtual environment
    command = shlex.split(how_to_install(extra))
    requirements = PROJECT["optional-dependencies"][extra]
    assert command == [sys.executable, "-m", "pip", "install", *requirements]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_command_that_a_document_shows_is_one(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    shown = re.findall(
        r"(?:^ *|-- )(?:\.venv/bin/)?quintet ([a-z].*?)\s*(?:`|$)", text, re.MULTILINE
    )
    assert shown
    for line in shown:
        words = shlex.split(line, comments=True)
        assert command_line(words).parse_args(words).command == words[0]


def test_no_text_names_a_command_or_a_package_that_is_not_ours() -> None:
    """`python -m app` depends on the folder it is run in; `quintet` on the index is another's."""
    places = [*ROOT.glob("*.md"), *(ROOT / "docker").rglob("*"), ROOT / "Dockerfile"]
    files = ("*.py", "*.md")
    places += [
        path for room in ("app", "model") for kind in files for path in (ROOT / room).rglob(kind)
    ]
    places.remove(ROOT / "CHANGELOG.md")
    other = re.compile(
        r"python -m (app|model)(?!\.engine|\.processes)\b|pip install '(quintet|\.)\["
    )
    told = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in places
        if path.is_file()
        for found in [other.search(path.read_text(encoding="utf-8"))]
        if found and path != ROOT / "app" / "__main__.py"
    }
    assert told == set()


def test_an_unknown_word_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["server"])
    assert ended.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_the_image_and_the_unit_start_the_command() -> None:
    """By its own path: neither depends on a folder that somebody mounts or works in."""
    assert '\nENTRYPOINT ["/opt/quintet/bin/quintet"]\nCMD ["serve"]\n' in read("Dockerfile")
    unit = read("docker/systemd/quintet.service")
    assert "\nExecStart=/opt/quintet/bin/quintet serve\n" in unit


def read(name: str) -> str:
    return Path(ROOT, name).read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["embed", "tokens", "keys"])
def test_ctrl_c_while_it_starts_is_a_word_and_no_trace(word: str, tmp_path: Path) -> None:
    """At moments over the first second, most of which goes into imports."""
    (tmp_path / "in.txt").write_text("one\n")
    given = {
        "embed": ["in.txt", "-o", "out.jsonl", "--url", "http://127.0.0.1:9", "--wait", "600"],
        "tokens": ["-", "--input-format", "text"],
        "keys": ["--file", "in.txt", "list"],
    }[word]
    # Says so when its first statement has run: before that Python itself ends without a trace.
    code = (
        "import sys; sys.argv[0] = 'quintet'\n"
        "import app.processes.signals as signals\n"
        "signals.end_as_interrupted(); print('begun', file=sys.stderr, flush=True)\n"
        "from app.__main__ import main; sys.exit(main())\n"
    )
    for wait_s in (0, 0.02, 0.1, 0.3, 0.6):
        with subprocess.Popen(
            [sys.executable, "-c", code, word, *given],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "begun\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        if process.returncode != 130:
            assert word == "keys", said  # it may be over before the signal comes
        assert "Traceback" not in said
        assert "interrupted" in said or word == "keys"


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--device", "cpu"],
        ["settings"],
        ["tokens", "--input-format", "text", "README.md"],
    ],
)
def test_a_full_disk_behind_standard_output_is_a_sentence(words: list[str]) -> None:
    command = [sys.executable, "-m", "app", *words]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 1
    (said,) = ran.stderr.splitlines()
    assert said.startswith("error: cannot write standard output: ")
    assert "No space left on device" in said


def test_standard_output_may_be_closed() -> None:
    ran = run_with_closed(1, "settings")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_standard_error_may_be_closed() -> None:
    """What goes there is not in standard output."""
    ran = run_with_closed(2, "tokens", "--input-format", "text", "--json", os.devnull)
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["texts"] == 0
