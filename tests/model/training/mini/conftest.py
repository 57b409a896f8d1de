"""Text, a teacher's file, and vectors of the texts, which tests share."""

import numpy as np
import pytest

from model.training.mini.corpora import Corpora, read_corpora
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.texts import Texts, texts_of
from tests.model.training.mini.corpus import HIDDEN, write_corpora, write_teacher


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return read_corpora(write_corpora(tmp_path_factory.mktemp("text") / "corpora"))


@pytest.fixture(scope="module")
def texts(corpora: Corpora) -> Texts:
    return texts_of(corpora, seed=0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    return TeacherFile(write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.bin"))


@pytest.fixture(scope="module")
def vectors(texts: Texts) -> np.ndarray:
    """Unit vectors that lie close to each other, as the teacher's do."""
    random = np.random.default_rng(0)
    found = 0.3 * random.standard_normal((len(texts.index), HIDDEN)) + 1
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
