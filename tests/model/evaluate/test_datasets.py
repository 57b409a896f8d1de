"""Which records are measured, which are only fitted on, and which are passed over."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.evaluate import dataset_builder
from model.evaluate.chunks import chunks_of, documents_of
from model.evaluate.datasets import (
    Dataset,
    Labels,
    Pairs,
    Parallel,
    Questions,
    Sampling,
)
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import read_datasets
from tests.model.evaluate import data


def _read(folder: Path, sampling: Sampling | None = None) -> list[Dataset]:
    return read_datasets(folder, sampling or Sampling())[0]


def test_every_kind_is_recognised_by_its_fields_and_the_rest_is_named(tmp_path: Path) -> None:
    found, passed_over = read_datasets(data.write_all(tmp_path), Sampling())
    kinds = [(type(each), each.file, each.language) for each in found]
    assert kinds == [
        (Labels, "labels", ""),
        (Pairs, "pairs", "de"),
        (Pairs, "pairs", "en"),
        (Parallel, "parallel", "en-de"),
        (Labels, "parallel", "en"),
        (Labels, "parallel", "de"),
        (Questions, "questions", "en"),
    ]
    assert any(sentence.startswith("glossary.jsonl") for sentence in passed_over)
    assert any(sentence.startswith("questions fr: no record") for sentence in passed_over)
    assert len(passed_over) == 2


def test_languages_that_are_asked_for_are_measured_and_no_others(tmp_path: Path) -> None:
    plain = [{"split": "dev", "en": f"en {n}", "de": f"de {n}", "sw": f"sw {n}"} for n in range(3)]
    data.write(tmp_path / "a.jsonl", plain)
    langs = ("th", "de", "sw")
    data.write(
        tmp_path / "b.jsonl",
        [{"lang": lang, "text": f"{lang} {n}", "sentence": n} for lang in langs for n in range(3)],
    )

    def measured(*languages: str) -> list[tuple[str, str]]:
        found = _read(tmp_path, Sampling(languages=languages))
        return [(each.file, each.language) for each in found]

    assert measured("de", "sw", "de") == [("a", "de-sw"), ("b", "de-sw")]
    assert measured("de", "th") == [("b", "th-de")]
    for asked, first in ((("xx",), "xx"), (("en", "yy", "zz"), "yy")):
        said = f"--languages {first}: .* has no parallel texts in it; they are in de, en, sw, th"
        with pytest.raises(EvaluationError, match=said):
            measured(*asked)
    for file in "ab":
        (tmp_path / f"{file}.jsonl").unlink()
    data.write(tmp_path / "pairs.jsonl", data.pairs())
    with pytest.raises(EvaluationError, match="has no parallel texts in it; it has none"):
        measured("de")


def test_sentences_in_several_languages_are_measured_between_each_two(tmp_path: Path) -> None:
    records = [
        {"lang": lang, "text": f"{lang} {number}", "set": "PUD", "split": "dev", "sentence": number}
        for lang, numbers in (("ar", (3, 1, 2)), ("hi", (1, 2, 3, 4)), ("th", (2, 1, 3)))
        for number in numbers
    ]
    alone = {"lang": "de", "text": "de 1", "set": "GSD"}
    data.write(tmp_path / "sentences.jsonl", [*records, alone])
    found, passed_over = read_datasets(tmp_path, Sampling())
    assert [each.language for each in found] == ["ar-hi", "ar-th", "hi-th"]
    for each in found:
        assert isinstance(each, Parallel)
        assert [text.split()[1] for text in each.a] == [text.split()[1] for text in each.b]
        assert {text.split()[1] for text in each.a} == {"1", "2", "3"}
    assert passed_over == ["sentences.jsonl: 1 sentences that are in one language only"]
    assert len(_read(tmp_path, Sampling(limit=2))[0].a) == 2


def test_sentences_may_be_numbered_by_texts_and_by_whole_numbers(tmp_path: Path) -> None:
    records = [
        {"lang": lang, "text": f"{lang} {sentence}", "sentence": sentence}
        for lang, sentences in (("en", (1, 2, "a")), ("de", ("a", "1", 2)))
        for sentence in sentences
    ]
    data.write(tmp_path / "a.jsonl", records)
    (found,) = _read(tmp_path)
    assert isinstance(found, Parallel)
    assert found.a == ("en 1", "en 2", "en a")
    assert found.b == ("de 1", "de 2", "de a")


def test_train_records_are_never_measured(tmp_path: Path) -> None:
    for each in _read(data.write_all(tmp_path)):
        match each:
            case Labels():
                assert not set(each.texts) & set(each.fit_texts)
                assert len(each.texts) == len(each.fit_texts) == 18
            case Questions():
                assert len(each.passages) == 9


def test_the_wanted_split_comes_first_and_the_other_where_it_is_missing(tmp_path: Path) -> None:
    records = [
        {"text": f"{split} {label} {index}", "label": label, "split": split}
        for split in ("train", "val", "test")
        for label in "ab"
        for index in range(3)
    ]
    data.write(tmp_path / "a.jsonl", records)
    for wanted, begin in (("dev", "val"), ("test", "test")):
        (found,) = _read(tmp_path, Sampling(split=wanted))
        assert isinstance(found, Labels)
        assert all(text.startswith(begin) for text in found.texts)
    data.write(tmp_path / "a.jsonl", [each for each in records if each["split"] != "test"])
    (found,) = _read(tmp_path, Sampling(split="test"))
    assert isinstance(found, Labels)
    assert all(text.startswith("val") for text in found.texts)


def test_without_splits_half_of_the_labels_fit_and_half_are_measured(tmp_path: Path) -> None:
    records = [{"text": f"text {index}", "label": "ab"[index // 10]} for index in range(20)]
    data.write(tmp_path / "a.jsonl", records)
    (found,) = _read(tmp_path)
    assert isinstance(found, Labels)
    assert len(found.texts) == len(found.fit_texts) == 10
    assert not set(found.texts) & set(found.fit_texts)


def test_without_splits_labels_that_come_in_turns_are_both_fitted_and_measured(
    tmp_path: Path,
) -> None:
    records = [{"text": f"text {index}", "label": "abcd"[index % 4]} for index in range(40)]
    data.write(tmp_path / "a.jsonl", [*records, {"text": "alone", "label": "e"}])
    (found,) = _read(tmp_path)
    assert isinstance(found, Labels)
    for labels in (found.labels, found.fit_labels):
        assert [labels.count(label) for label in "abcd"] == [5] * 4
    assert len({*found.texts, *found.fit_texts}) == 41


def test_sampling_draws_the_same_by_the_seed_and_keeps_answers_right(tmp_path: Path) -> None:
    records = [
        {
            "passage": f"passage {n}",
            "questions": [f"question {n}", f"again {n}"],
            "title": f"{n // 3}",
        }
        for n in range(30)
    ]
    data.write(tmp_path / "a.jsonl", records)
    sampling = Sampling(limit=6)
    found, again, other = (
        _read(tmp_path, each) for each in (sampling, sampling, replace(sampling, seed=1))
    )
    assert found == again
    assert found != other
    (asked,) = found
    assert isinstance(asked, Questions)
    assert len(asked.passages) == len(asked.questions) == 6
    for question, answer in zip(asked.questions, asked.answers, strict=True):
        assert asked.passages[answer].split()[1] == question.split()[1]
    # Whole titles are drawn, so that documents stay whole.
    assert [asked.titles.count(title) for title in set(asked.titles)] == [3, 3]


def test_a_passage_that_comes_twice_is_one_passage(tmp_path: Path) -> None:
    records = [{"passage": "the same", "question": f"question {n}"} for n in range(3)]
    data.write(tmp_path / "a.jsonl", [*records, {"passage": "other", "question": "other?"}])
    (asked,) = _read(tmp_path)
    assert isinstance(asked, Questions)
    assert asked.passages == ("the same", "other")
    assert asked.answers == (0, 0, 0, 1)


def test_questions_across_languages_are_a_dataset_of_their_own(tmp_path: Path) -> None:
    record = {"passage": "Das Meer.", "question": "The sea?", "lang": "en"}
    data.write(tmp_path / "a.jsonl", [record, {**record, "passage_lang": "de"}])
    assert [each.language for each in _read(tmp_path)] == ["en", "en-de"]


def test_fitting_is_bounded_evenly_over_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_builder, "MAX_FITTED", 10)
    records = [
        {"text": f"{label} {n}", "label": label, "split": split}
        for split in ("train", "test")
        for label, count in (("a", 50), ("b", 8))
        for n in range(count)
    ]
    data.write(tmp_path / "a.jsonl", records)
    (found,) = _read(tmp_path)
    assert isinstance(found, Labels)
    assert [found.fit_labels.count(label) for label in "ab"] == [5, 5]


def test_a_limit_also_bounds_what_is_fitted_on(tmp_path: Path) -> None:
    records = [
        {"text": f"{label} {n}", "label": label, "split": split}
        for split in ("train", "test")
        for label in "ab"
        for n in range(50)
    ]
    data.write(tmp_path / "a.jsonl", records)
    (found,) = _read(tmp_path, Sampling(limit=5))
    assert isinstance(found, Labels)
    assert (len(found.texts), len(found.fit_texts)) == (5, 20)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('{"a": "x", "b": "y", "score": 1}\nnonsense\n', "line 2: invalid JSON, at column 1"),
        ('{"a": "x", "b": "y", "score": 1}\n[1]\n', "line 2: must be an object, not a list."),
        ('{"a": "x", "b": "y", "score": "high"}\n', "line 1: the field 'score' must be a number"),
        ('{"a": "x", "b": "y", "score": NaN}\n', "line 1: invalid JSON, at column 31"),
        ('{"a": "x", "b": " ", "score": 1}\n', "line 1: the field 'b' is blank"),
        ('{"text": "x", "label": "y"}\n{"text": "x"}\n', "line 2: not labels like the first"),
        ('{"text": "x", "label": 0.5}\n', "line 1: the field 'label' must be a text or a whole"),
        ('{"passage": "x", "questions": "y"}\n', "line 1: its questions are 'y', not texts"),
        ('{"text": "x", "label": "y", "split": "left"}\n', "line 1: split is 'left', not one of"),
        ('{"passage": "x", "question": null}\n', "line 1: its questions are [None], not texts"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: str, sentence: str) -> None:
    (tmp_path / "a.jsonl").write_text(lines)
    with pytest.raises(EvaluationError) as caught:
        _read(tmp_path)
    assert f"{tmp_path / 'a.jsonl'}, {sentence}" in str(caught.value)


def test_a_broken_archive_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="has no file that ends in"):
        _read(tmp_path)
    with pytest.raises(EvaluationError, match="is not a folder"):
        _read(tmp_path / "none")
    (tmp_path / "a.jsonl.xz").write_bytes(b"no archive")
    with pytest.raises(EvaluationError, match=r"cannot read .*a\.jsonl\.xz"):
        _read(tmp_path)


def test_a_file_that_is_there_packed_and_unpacked_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.xz"):
        data.write(tmp_path / name, data.labels())
    with pytest.raises(EvaluationError, match=r"has two files a: a\.jsonl\.xz and"):
        _read(tmp_path)


def test_what_cannot_be_told_apart_is_passed_over(tmp_path: Path) -> None:
    data.write(tmp_path / "a.jsonl", [{"a": "x", "b": "y", "score": 1}] * 3)
    data.write(tmp_path / "b.jsonl", [{"text": f"{n}", "label": "one"} for n in range(4)])
    data.write(tmp_path / "c.jsonl", [{"passage": "x", "questions": [" "]}])
    (tmp_path / "d.jsonl").touch()
    found, passed_over = read_datasets(tmp_path, Sampling())
    assert found == []
    named = {sentence.partition(":")[0] for sentence in passed_over}
    assert named == {"a", "b", "c", "c.jsonl", "d.jsonl"}


def test_chunks_are_the_passage_in_sentences_that_are_not_short() -> None:
    long = "x" * 130
    assert chunks_of(f"{long}. Short. {long}! End.") == [f"{long}.", f"Short. {long}! End."]
    assert chunks_of("短い文。" * 10) == ["短い文。" * 10]
    assert chunks_of("短い文。" * 16) == ["短い文。" * 8] * 2
    assert chunks_of("只有一句") == ["只有一句"]
    text = f"{long}.\n\n{long}؟ {long}।"
    assert "".join(chunks_of(text)) == "".join(text.split())


def test_documents_are_runs_of_a_title_that_do_not_grow_for_ever() -> None:
    passages = ["x" * 3000] * 6
    titles = ["a", "a", "a", "", "", "b"]
    assert documents_of(passages, titles) == [[0, 1], [2], [3], [4], [5]]
