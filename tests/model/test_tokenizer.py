"""Texts -> rows: counting, limits, instructions, and the spans of late chunking."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from model.config import CheckpointError, read_config
from model.tasks import Task, Tasks
from model.tokenizer import RowOptions, Tokenizer, TooManyTokensError
from tests.checkpoints import MINI, TASKS

GOLDEN = Path(__file__).parent.parent / "golden" / "xlmr_pieces.json"
CONFIG = read_config(MINI)
TOKENIZER = Tokenizer(MINI, CONFIG)
JUDGE = tokenizers.Tokenizer.from_file(str(MINI / "tokenizer.json"))
ALL_TASKS = [Tasks(CONFIG).by_name(name) for name in (None, *TASKS)]
TEXT_MATCHING = Tasks(CONFIG).by_name("text-matching")
PASSAGE = Tasks(CONFIG).by_name("retrieval.passage")

texts = st.lists(st.text(max_size=40), min_size=1, max_size=8)
words = st.from_regex(r"[a-zäé新しい]{1,6}( [a-z.!]{1,5}){0,4}", fullmatch=True)


@given(texts, st.sampled_from(ALL_TASKS))
def test_a_row_is_what_the_tokenizer_makes_of_instruction_and_text(
    inputs: list[str], task: Task
) -> None:
    tokenized = TOKENIZER.rows(inputs, task)
    for text, row in zip(inputs, tokenized.rows, strict=True):
        assert row.token_ids.tolist() == JUDGE.encode(task.instruction + text).ids
        assert row.spans.tolist() == [[0, len(row)]]
        assert row.adapter == task.adapter


@given(texts, st.sampled_from(ALL_TASKS))
def test_usage_counts_the_text_and_two_special_tokens_a_row_without_the_instruction(
    inputs: list[str], task: Task
) -> None:
    expected = sum(len(JUDGE.encode(text).ids) for text in inputs)
    assert TOKENIZER.rows(inputs, task).tokens == expected


@given(st.lists(words, min_size=1, max_size=9), st.sampled_from(ALL_TASKS))
def test_late_chunking_is_the_joined_text_with_a_span_for_each_input(
    inputs: list[str], task: Task
) -> None:
    tokenized = TOKENIZER.rows(inputs, task, RowOptions(late_chunking=True))
    (row,) = tokenized.rows
    assert row.token_ids.tolist() == JUDGE.encode(task.instruction + " ".join(inputs)).ids
    # The spans of the reference: chunk by chunk over the tokens, the first one from <s> on, the
    # last one up to </s>.
    front = len(JUDGE.encode(task.instruction).ids) - 1
    lengths = [len(JUDGE.encode(text, add_special_tokens=False).ids) for text in inputs]
    spans, at = [], front
    for length in lengths:
        spans.append([at, at + length])
        at += length
    spans[0][0], spans[-1][1] = 0, len(row)
    assert row.spans.tolist() == spans
    assert tokenized.tokens == sum(lengths) + 2


@settings(max_examples=30)
@given(texts)
def test_an_input_without_a_token_gets_the_mean_of_the_whole_document(inputs: list[str]) -> None:
    inputs = [inputs[0], "", *inputs[1:]]
    tokenized = TOKENIZER.rows(inputs, PASSAGE, RowOptions(late_chunking=True))
    (row,) = tokenized.rows
    spans = tokenized.vectors(row.spans)
    assert len(spans) == len(inputs)
    assert spans[1].tolist() == [0, len(row)]
    assert (spans[:, 0] < spans[:, 1]).all()


def test_inputs_without_a_token_are_pooled_once_for_all_of_them() -> None:
    tokenized = TOKENIZER.rows(["", "a b", *[""] * 2000], PASSAGE, RowOptions(late_chunking=True))
    (row,) = tokenized.rows
    assert len(row.spans) == 2
    assert len(tokenized.vectors(row.spans)) == 2002


@pytest.mark.parametrize("task", [TEXT_MATCHING, PASSAGE])
def test_8192_tokens_are_read_and_8193_are_not(task: Task) -> None:
    longest, longer = "a " * 8192, "a " * 8193
    instruction = len(JUDGE.encode(task.instruction).ids) - 2
    (row,) = TOKENIZER.rows([longest], task).rows
    assert len(row) == 8192 + 2 + instruction
    with pytest.raises(TooManyTokensError, match=r"texts\[1\] has 8193 tokens; .* at most 8192"):
        TOKENIZER.rows(["a", longer], task)
    cut = TOKENIZER.rows(["a", longer], task, RowOptions(truncate=True))
    assert cut.rows[1].token_ids.tolist() == row.token_ids.tolist()
    assert (cut.tokens, cut.truncated) == (1 + 2 + 8192 + 2, (1,))


def test_a_document_of_8192_tokens_is_read_and_one_of_8193_is_not() -> None:
    fits = ["a " * 4000, "b " * 4000, "c " * 192]
    (row,) = TOKENIZER.rows(fits, PASSAGE, RowOptions(late_chunking=True)).rows
    over = [*fits, "d"]
    with pytest.raises(TooManyTokensError, match="at most 8192 tokens; these 4 inputs have 8193"):
        TOKENIZER.rows(over, PASSAGE, RowOptions(late_chunking=True))
    cut = TOKENIZER.rows(over, PASSAGE, RowOptions(late_chunking=True, truncate=True))
    assert cut.rows[0].token_ids.tolist() == row.token_ids.tolist()
    assert (cut.tokens, cut.truncated) == (8192 + 2, (3,))
    assert cut.vectors(cut.rows[0].spans)[3].tolist() == [0, len(row)]


def test_truncation_cuts_an_input_in_the_middle_of_a_document() -> None:
    inputs = ["a " * 8000, "b " * 500, "c " * 5]
    tokenized = TOKENIZER.rows(inputs, TEXT_MATCHING, RowOptions(late_chunking=True, truncate=True))
    assert tokenized.truncated == (1, 2)
    spans = tokenized.vectors(tokenized.rows[0].spans).tolist()
    assert spans == [[0, 8001], [8001, 8193], [0, 8194]]


def test_an_empty_input_beside_a_truncated_one_is_not_truncated() -> None:
    options = RowOptions(late_chunking=True, truncate=True)
    long = "a " * 8193
    for inputs, truncated in (
        ([long, "", "b"], (0, 2)),
        (["", long, ""], (1,)),
        (["a " * 8192, "", "b"], (2,)),
    ):
        assert TOKENIZER.rows(inputs, TEXT_MATCHING, options).truncated == truncated


def test_the_published_samples_have_the_published_token_counts(tmp_path: Path) -> None:
    """jina-ai/jina-sagemaker's sample: real v3 charged 8, 9, 12, 7, 9 and 9 tokens."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", golden["lowest_score"])]
    pieces = [(piece, score) for piece, score, _ in golden["pieces"]]
    real_ids = [0, 1, 2, 3, *(number for _, _, number in golden["pieces"])]
    xlmr = tokenizers.Tokenizer(models.Unigram([*specials, *pieces], 3, byte_fallback=False))
    xlmr.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    xlmr.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    xlmr.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path, CONFIG)
    published = json.loads((MINI.parent / "golden.json").read_text(encoding="utf-8"))
    samples = published["token_ids"]["items"][-6:]
    counts = [tokenizer.rows([each["text"]], TEXT_MATCHING).tokens for each in samples]
    assert counts == [8, 9, 12, 7, 9, 9]
    rows = tokenizer.rows([each["text"] for each in samples], TEXT_MATCHING).rows
    for row, each in zip(rows, samples, strict=True):
        assert [real_ids[number] for number in row.token_ids] == each["ids"]


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        Tokenizer(tmp_path, CONFIG)
    small = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0))
    small.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="gives <s> the id None"):
        Tokenizer(tmp_path, CONFIG)


def test_a_tokenizer_whose_ids_have_gaps_up_to_one_over_the_table_is_refused(
    tmp_path: Path,
) -> None:
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": CONFIG.vocab_size}
    gaps = tokenizers.Tokenizer(models.WordLevel(ids, "<unk>"))
    gaps.save(str(tmp_path / "tokenizer.json"))
    said = "gives a the id 55000, and the model's table has ids up to 54999"
    with pytest.raises(CheckpointError, match=said):
        Tokenizer(tmp_path, CONFIG)


def test_a_tokenizer_without_a_token_for_the_unknown_is_refused(tmp_path: Path) -> None:
    fields = json.loads((MINI / "tokenizer.json").read_text(encoding="utf-8"))
    fields["model"]["unk_id"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(CheckpointError, match="no token for what is not in its vocabulary"):
        Tokenizer(tmp_path, CONFIG)


def test_rows_of_several_threads_do_not_mix() -> None:
    from concurrent.futures import ThreadPoolExecutor

    batches = [[f"{number} {word}" for word in "abc"] for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        tokenized = list(pool.map(lambda batch: TOKENIZER.rows(batch, TEXT_MATCHING), batches))
    for batch, inputs in zip(batches, tokenized, strict=True):
        expected = [JUDGE.encode(text).ids for text in batch]
        assert [row.token_ids.tolist() for row in inputs.rows] == expected
        assert all(row.token_ids.dtype == np.int32 for row in inputs.rows)


@pytest.mark.parametrize("characters", [1, 7])
@given(
    pieces=st.lists(
        st.sampled_from(
            [*"aÉ5日한ำｶﾞ⁵ǆ", "ي", "\u0301", "\u200d", " ", "\n", "\r\n", "\x01", "_", "<mask>"]
        )
        | st.sampled_from(["</s>", "Wort", "слово", " a", "\u3000", "👍🏽"])
        | st.characters(codec="utf-8"),
        max_size=40,
    )
)
def test_a_text_in_pieces_has_the_tokens_of_the_text(characters: int, pieces: list[str]) -> None:
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.tokenizer._CHARACTERS", characters)
        (ids,) = TOKENIZER.ids([text])
    assert ids.tolist() == JUDGE.encode(text, add_special_tokens=False).ids


PEAK = """
import re, sys
from pathlib import Path
from model.config import read_config
from model.offsets import tokenize_with_offsets
from model.tokenizer import Tokenizer

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

tokenizer = Tokenizer(folder := Path(sys.argv[1]), read_config(folder))
unit, texts, words = sys.argv[2], *map(int, sys.argv[3:5])
tokenizer.ids(["Warm up."])
before = peak()
read = [*sys.argv[6:], *[unit * words] * texts]
if sys.argv[5] == "offsets":
    found = (each.token_ids for each in tokenize_with_offsets(read, tokenizer, None))
else:
    found = tokenizer.ids(read)
print(sum(map(len, found)), peak() - before)
"""


@pytest.mark.parametrize(
    ("texts", "words", "what", "most"),
    [
        (64, 62_500, ["ids"], 200),
        (1, 2_000_000, ["ids"], 400),
        (1, 2_000_000, ["ids", ""], 400),
        (1, 2_000_000, ["offsets"], 650),
        (1, 2_000_000, ["offsets", ""], 650),
    ],
)
def test_long_texts_are_not_tokenised_all_at_once(
    texts: int, words: int, what: list[str], most: int
) -> None:
    """8 and 4 MB, whose encodings take 300 and 800 MB, with offsets 900; after an empty one too."""
    command = [sys.executable, "-c", PEAK, str(MINI), "a ", str(texts), str(words), *what]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    tokens, grown = map(int, ran.stdout.split())
    assert tokens == texts * words
    assert grown < most << 20


@pytest.mark.parametrize(
    ("unit", "what"), [("a", "ids"), ("\u3053\u3093\u306b\u3061\u306f\u3002", "offsets")]
)
def test_a_text_without_white_space_is_not_tokenised_all_at_once(unit: str, what: str) -> None:
    """8 million characters, whose encodings take over 2 GB."""
    command = [sys.executable, "-c", PEAK, str(MINI), unit, "1", str(8_000_000 // len(unit)), what]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    _, grown = map(int, ran.stdout.split())
    assert grown < 1300 << 20
