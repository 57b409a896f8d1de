"""Spaces differ when vectors do, and only then: each thing that they depend on is changed alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import embedder
from model.embedder import Embedder
from model.fingerprint import fingerprint
from model.spaces import Space, Spaces
from tests.checkpoints import (
    LORA_A,
    LORA_B,
    TASKS,
    WEIGHT,
    Shape,
    random_tensors,
    write_hf,
    write_original,
)
from tests.model.test_config import change_config

# By task ("none" is the base model), late chunking and normalisation.
AllSpaces = dict[tuple[str, bool, bool], Space]
Change = Callable[[dict[str, torch.Tensor]], None]

RETRIEVAL = {"retrieval.query", "retrieval.passage"}
EVERY_TASK = {*TASKS, "none"}
BLOCK = "roberta.encoder.layers.1"


def spaces_of(folder: Path, dtype: str = "float32") -> AllSpaces:
    """All spaces of a checkpoint's pooled vectors, as it is loaded."""
    loaded = embedder.load(folder, "cpu", dtype)
    spaces = made_of(loaded, folder)
    return {
        (name, late, normalized): spaces.of(
            loaded.tasks.by_argument(name), late_chunking=late, normalized=normalized
        )
        for name in (*loaded.tasks.names, "none")
        for late in (False, True)
        for normalized in (False, True)
    }


def made_of(loaded: Embedder, folder: Path) -> Spaces:
    def token_ids(text: str) -> list[int]:
        ids: list[int] = loaded.tokenizer.ids([text])[0].tolist()
        return ids

    return Spaces(fingerprint(folder, loaded.config), loaded.tasks, token_ids)


def changed(before: AllSpaces, after: AllSpaces) -> tuple[set[str], set[str]]:
    """The tasks whose members differ, and those whose families do; each with all its spaces."""
    found = []
    for part in ("member", "family"):
        differ = {key for key in before if getattr(before[key], part) != getattr(after[key], part)}
        tasks = {task for task, _, _ in differ}
        assert len(differ) == 4 * len(tasks), "some spaces of a task differ, and others do not"
        found.append(tasks)
    return found[0], found[1]


@pytest.fixture(scope="module")
def before(original: Path) -> AllSpaces:
    return spaces_of(original)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


def change_tensors(path: Path, change: Change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None], **form: Any) -> None:
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields, **form))


def nudge(name: str, *index: int) -> Change:
    """One number changes as little as it can."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        number = tensors[name][index]
        tensors[name][index] = torch.nextafter(number, torch.tensor(9.0))

    return change


@pytest.mark.parametrize(
    "change",
    [
        nudge(f"roberta.embeddings.word_embeddings{WEIGHT}", 47_999, 63),
        nudge(f"roberta.embeddings.token_type_embeddings{WEIGHT}", 0, 0),
        nudge("roberta.emb_ln.weight", 3),
        nudge(f"{BLOCK}.norm2.bias", 63),
        nudge(f"{BLOCK}.mixer.Wqkv{WEIGHT}", 191, 0),
        nudge(f"{BLOCK}.mlp.fc2.bias", 0),
    ],
)
def test_one_number_of_the_base_changes_every_space(
    before: AllSpaces, folder: Path, change: Change
) -> None:
    change_tensors(folder / "model.safetensors", change)
    assert changed(before, spaces_of(folder)) == (EVERY_TASK, EVERY_TASK)


@pytest.mark.parametrize(
    ("task", "name", "index"),
    [
        ("separation", f"roberta.embeddings.word_embeddings{LORA_A}", (47_999, 3)),
        ("text-matching", f"{BLOCK}.mixer.Wqkv{LORA_B}", (191, 3)),
        ("classification", f"{BLOCK}.mlp.fc1{LORA_A}", (0, 0)),
        ("retrieval.passage", f"{BLOCK}.mlp.fc2{LORA_B}", (1, 2)),
    ],
)
def test_one_number_of_an_adapter_changes_what_its_task_takes_part_in(
    before: AllSpaces, folder: Path, task: str, name: str, index: tuple[int, ...]
) -> None:
    change = nudge(name, list(TASKS).index(task), *index)
    change_tensors(folder / "model.safetensors", change)
    family = RETRIEVAL if task in RETRIEVAL else {task}
    assert changed(before, spaces_of(folder)) == ({task}, family)


def test_the_token_ids_of_an_instruction_count_and_not_its_spelling(
    before: AllSpaces, folder: Path
) -> None:
    def instruct(query: str) -> AllSpaces:
        instructions = {**TASKS, "retrieval.query": query}
        change_config(folder, task_instructions=instructions)
        return spaces_of(folder)

    given = TASKS["retrieval.query"]
    assert instruct(given.replace(" ", "  ")) == before
    assert changed(before, instruct("Represent the question: ")) == (
        {"retrieval.query"},
        RETRIEVAL,
    )
    assert changed(before, instruct("")) == ({"retrieval.query"}, RETRIEVAL)


def test_late_chunking_makes_another_member_and_not_normalising_another_family(
    before: AllSpaces,
) -> None:
    members = {space.member for space in before.values()}
    assert len(members) == len(before), "every space has a member of its own"
    for task in EVERY_TASK:
        plain, late = before[task, False, True], before[task, True, True]
        assert plain.family == late.family
        assert plain.family != before[task, False, False].family
        assert before[task, False, False].family == before[task, True, False].family


def test_vectors_of_single_tokens_are_of_another_family(before: AllSpaces, original: Path) -> None:
    loaded = embedder.load(original, "cpu", "float32")
    tokens = made_of(loaded, original).of(loaded.tasks.by_name("separation"), pooling="none")
    assert tokens.family not in {space.family for space in before.values()}
    assert tokens.member not in {space.member for space in before.values()}


def test_queries_and_passages_are_of_one_family_and_no_other_tasks_are(before: AllSpaces) -> None:
    families = {task: before[task, False, True].family for task in EVERY_TASK}
    assert families["retrieval.query"] == families["retrieval.passage"]
    assert len(set(families.values())) == len(EVERY_TASK) - 1


@pytest.mark.parametrize(
    ("change", "tasks"),
    [
        ({"rotary_emb_base": 10_000.0}, EVERY_TASK),
        ({"layer_norm_eps": 1e-6}, EVERY_TASK),
        ({"num_attention_heads": 2}, EVERY_TASK),
        ({"lora_alpha": 2}, {*TASKS}),  # the base model has no adapter
        # What no vector depends on.
        ({"emb_pooler": "mean", "matryoshka_dimensions": [8], "architectures": ["X"]}, set()),
        ({"max_position_embeddings": 4098, "model_type": "xlm-roberta"}, set()),
    ],
)
def test_numbers_of_the_config_count_where_vectors_depend_on_them(
    before: AllSpaces, folder: Path, change: dict[str, Any], tasks: set[str]
) -> None:
    change_config(folder, **change)
    assert changed(before, spaces_of(folder)) == (tasks, tasks)


def swap_two_pieces(fields: dict[str, Any]) -> None:
    """As in a vocabulary of another order."""
    vocabulary = fields["model"]["vocab"]
    one, other = (
        next(index for index, (piece, _) in enumerate(vocabulary) if piece == wanted)
        for wanted in ("▁the", "▁over")
    )
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def lower_case(fields: dict[str, Any]) -> None:
    normalizers = [fields["normalizer"], {"type": "Lowercase"}]
    fields["normalizer"] = {"type": "Sequence", "normalizers": normalizers}


def keep_compatibility_characters(fields: dict[str, Any]) -> None:
    fields["normalizer"] = {"type": "NFC"}


def split_nowhere(fields: dict[str, Any]) -> None:
    fields["pre_tokenizer"] = fields["pre_tokenizer"]["pretokenizers"][1]


@pytest.mark.parametrize(
    "change", [swap_two_pieces, lower_case, keep_compatibility_characters, split_nowhere]
)
def test_a_tokenizer_that_reads_otherwise_changes_every_space(
    before: AllSpaces, folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    change_tokenizer(folder, change)
    assert changed(before, spaces_of(folder)) == (EVERY_TASK, EVERY_TASK)


def test_a_tokenizer_that_is_written_otherwise_changes_none(
    before: AllSpaces, folder: Path
) -> None:
    def pad(fields: dict[str, Any]) -> None:
        fields["truncation"] = {
            "direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0,
        }  # fmt: skip

    change_tokenizer(folder, pad, indent=2, sort_keys=True, ensure_ascii=True)
    assert spaces_of(folder) == before


def test_both_layouts_of_a_checkpoint_have_the_same_spaces(before: AllSpaces, hf: Path) -> None:
    assert spaces_of(hf) == before


def test_the_order_of_the_tasks_changes_nothing(
    before: AllSpaces, hf: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(hf, tmp_path / "copy"))
    change_config(folder, lora_adaptations=[*TASKS][::-1])
    assert spaces_of(folder) == before


def test_dtype_name_folder_and_files_change_nothing(before: AllSpaces, folder: Path) -> None:
    path = folder / "model.safetensors"
    change_tensors(path, nudge("roberta.pooler.dense.bias", 0))  # which is not computed with
    tensors = load_file(path)
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[::2]}, path)
    save_file({name: tensors[name] for name in names[1::2]}, folder / "model-2.safetensors")
    assert spaces_of(folder.rename(folder.parent / "of-another-name"), "bfloat16") == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_weights_that_are_stored_wider_change_nothing_and_narrower_only_without_loss(
    before: AllSpaces, tmp_path: Path, dtype: torch.dtype
) -> None:
    shape = Shape(dtype=torch.bfloat16)
    narrow = {name: tensor.to(dtype) for name, tensor in random_tensors(shape).items()}
    wide = {name: tensor.float() for name, tensor in narrow.items()}
    spaces = spaces_of(write_original(tmp_path / "narrow", shape, narrow))
    assert spaces_of(write_hf(tmp_path / "wide", shape, wide)) == spaces
    assert changed(before, spaces) == (EVERY_TASK, EVERY_TASK)


def test_every_number_of_float8_is_told_from_every_other_as_in_torch(tmp_path: Path) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    finite = every[~every.float().isnan()]
    shape = Shape(dtype=torch.float32)
    tensors = random_tensors(shape)
    name = "roberta.encoder.layers.0.mlp.fc1.parametrizations.weight.original"
    assert tensors[name].numel() >= len(finite)
    tensors[name].view(-1)[: len(finite)] = finite.float()
    wide = spaces_of(write_original(tmp_path / "wide", shape, tensors))
    tensors[name] = tensors[name].to(torch.float8_e4m3fn).float()
    rounded = spaces_of(write_original(tmp_path / "rounded", shape, tensors))
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    assert spaces_of(write_original(tmp_path / "narrow", shape, tensors)) == rounded
    assert changed(wide, rounded) == (EVERY_TASK, EVERY_TASK)


def test_a_caller_expects_a_family_or_a_member() -> None:
    space = Space("0123456789ab", "cdef01234567")
    assert space.meets("0123456789ab.cdef01234567")
    assert space.meets("0123456789ab")
    # The other task of its family has changed since, and its own vectors have not.
    assert space.meets("ffffffffffff.cdef01234567")
    for other in ("0123456789ab.ffffffffffff", "ffffffffffff", "cdef01234567", "0123456789ab.", ""):
        assert not space.meets(other)
