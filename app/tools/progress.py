"""The progress bar of `quintet embed`, and sentences beside it, on standard error."""

import sys
import time

from tqdm import tqdm

from app.tools.journal import Totals


class EmbedProgress:
    """Counts what this run embeds. The bar is for a terminal, or where it is asked for."""

    def __init__(self, total: int | None, before: Totals, *, bar: bool, quiet: bool) -> None:
        """`total` texts, if known; `before` are the sums of earlier runs."""
        self._quiet = quiet
        self._texts_before, self._tokens_before = _answered(before), before.tokens
        self._start = time.monotonic()
        shown = not quiet and (bar or sys.stderr.isatty())
        self._bar = tqdm(
            total=total,
            initial=before.records,
            unit=" texts",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not shown,
        )

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def start(self) -> None:
        """Start the clock: the service is ready, and the first request follows."""
        self._start = time.monotonic()
        self._bar.unpause()

    def show(self, totals: Totals) -> None:
        """Move the bar to `totals`."""
        rate = (totals.tokens - self._tokens_before) / self._seconds()
        self._bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
        self._bar.update(totals.records - self._bar.n)

    def report(self, sentence: str) -> None:
        """Print a sentence above the bar, unless the run is quiet."""
        if not self._quiet:
            self._bar.write(sentence, file=sys.stderr)

    def warn(self, sentence: str) -> None:
        """Print a sentence above the bar, in a quiet run too."""
        self._bar.write(sentence, file=sys.stderr)

    def summary(self, totals: Totals) -> str:
        """Texts, tokens and seconds: of this run, and of all runs if there were others."""
        texts = _answered(totals) - self._texts_before
        tokens, seconds = totals.tokens - self._tokens_before, self._seconds()
        earlier = f", {self._texts_before} texts were there before" if self._texts_before else ""
        failed = f", {totals.failed} failed" if totals.failed else ""
        return (
            f"{texts} texts, {tokens} tokens in {seconds:.1f} s "
            f"({texts / seconds:,.1f} texts/s, {tokens / seconds:,.0f} tokens/s){earlier}{failed}"
        )

    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-6)


def _answered(totals: Totals) -> int:
    """The texts of the input that were embedded."""
    return totals.records - totals.failed
