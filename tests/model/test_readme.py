"""model/README.md: its code runs, and the files and tests that it names exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "model" / "README.md").read_text(encoding="utf-8")


def test_the_code_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("(2, 64) 2\n", 0), done.stderr


def test_the_files_and_tests_that_it_names_exist() -> None:
    named = {Path("model", name) for name in re.findall(r"`(\w+\.py)`", TEXT)}
    named |= set(map(Path, re.findall(r"`(app/[\w/]+\.py)`", TEXT)))
    assert named >= {Path("model/tokenizer.py"), Path("app/api/vectors.py")}
    assert not {path for path in named if not (ROOT / path).is_file()}
    tests = re.findall(r"`(test_\w+\.py)::(\w+)`", TEXT)
    assert len(tests) == TEXT.count("::")
    for file, test in tests:
        assert f"def {test}(" in (ROOT / "tests" / "model" / file).read_text(encoding="utf-8")


def test_every_file_of_the_package_but_helpers_is_named() -> None:
    helpers = {"__init__", "arguments", "devices", "extras", "memory", "argument_types"}
    helpers |= {"proxies", "quoting"}
    files = {path.stem for path in (ROOT / "model").glob("*.py")} - helpers
    assert not {stem for stem in files if not re.search(rf"\b{stem}\b", TEXT)}
