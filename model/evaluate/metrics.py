"""Computes metrics from unit vectors, whose products are cosines; with scipy and scikit-learn.

Q questions, P passages, N texts, D dimensions.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score
from sklearn.neighbors import KNeighborsClassifier

from model.rows import Vectors

# Questions that are compared with all passages at once.
QUESTIONS_AT_ONCE = 1024

Floats = npt.NDArray[np.floating]

# As many as MTEB's classification by neighbours looks at (AbsTaskClassification, kNN, k=5).
NEIGHBOURS = 5
# One k-means depends on its start; the mean of several does less.
KMEANS_STARTS = 4
# It takes so many different ones.
SEEDS = 2**32
# The inverse strength of the probe's regularisation. scikit-learn's 1 is made for features of
# variance 1; those of a unit vector have a variance of 1/D.
PROBE_C = 10.0


def spearman(a: Vectors, b: Vectors, scores: Sequence[float]) -> float:
    """Spearman's rank correlation of the cosines of a (N, D) and b (N, D) with people's scores; 0
    where all cosines are equal, which order nothing."""
    cosines = np.einsum("nd,nd->n", a, b)
    return 0.0 if np.ptp(cosines) == 0 else float(spearmanr(cosines, scores).statistic)


def accuracy_and_ndcg(
    similarities: Floats, answers: Sequence[int], k: int = 10
) -> tuple[float, float]:
    """accuracy@1 and nDCG@k where each question has one right passage; similarities (Q, P).

    nDCG of one right passage is 1 / log2(1 + rank), and 0 past rank k (Järvelin and Kekäläinen
    2002). Equal similarities share their ranks: the mean over all their orders, as scikit-learn's
    ndcg_score does it, for either measure.
    """
    right = similarities[np.arange(len(answers)), np.asarray(answers)][:, None]
    before = (similarities > right).sum(axis=1)
    equal = (similarities == right).sum(axis=1)
    discounts = np.zeros(similarities.shape[1] + 1)
    ranks = np.arange(1, min(k, similarities.shape[1]) + 1)
    discounts[ranks] = 1 / np.log2(1 + ranks)
    sums = np.cumsum(discounts)
    gains = (sums[before + equal] - sums[before]) / equal
    return float(np.where(before == 0, 1 / equal, 0).mean()), float(gains.mean())


def accuracy_and_ndcg_in_parts(
    similarities: Callable[[slice], Floats], answers: Sequence[int]
) -> tuple[float, float]:
    """The same where `similarities` gives those of some of the questions, as those of many texts
    with all others would take gigabytes."""
    found, counts = [], []
    for start in range(0, len(answers), QUESTIONS_AT_ONCE):
        part = slice(start, start + QUESTIONS_AT_ONCE)
        found.append(accuracy_and_ndcg(similarities(part), answers[part]))
        counts.append(len(answers[part]))
    accuracy, ndcg = np.average(found, axis=0, weights=counts).tolist()
    return accuracy, ndcg


def probe(
    fit: Vectors, fit_labels: Sequence[str], vectors: Vectors, labels: Sequence[str]
) -> float:
    """Accuracy of a logistic regression fitted on `fit`, at the texts of `vectors`."""
    model = LogisticRegression(C=PROBE_C, max_iter=1000).fit(fit, fit_labels)
    return float(model.score(vectors, labels))


def neighbours(
    fit: Vectors, fit_labels: Sequence[str], vectors: Vectors, labels: Sequence[str]
) -> float:
    """Accuracy of the vote of the nearest NEIGHBOURS in `fit`, by cosine."""
    k = min(NEIGHBOURS, len(fit))
    model = KNeighborsClassifier(k, metric="cosine").fit(fit, fit_labels)
    return float(model.score(vectors, labels))


def v_measure(vectors: Vectors, labels: Sequence[str], seed: int) -> float:
    """V-measure of k-means with as many clusters as there are labels; mean of KMEANS_STARTS."""
    clusters = len(set(labels))
    found = []
    with warnings.catch_warnings():
        # Fewer different vectors than labels make fewer clusters; v-measure says how bad that is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for start in range(KMEANS_STARTS):
            means = KMeans(clusters, n_init=1, random_state=(seed + start) % SEEDS)
            found.append(v_measure_score(labels, means.fit_predict(vectors)))
    return float(np.mean(found))
