"""Reads a log line by line and hands out the results in it, whichever dialect each is written in.

Lines in, results out; no file is opened. A result is whole once its closing line was there; another run's beginning
or the end of the log ends it too, and then it counts as incomplete. Called by `parse`.
"""

from __future__ import annotations

from dataclasses import replace

from . import mad, sglang_serving, vllm_serve
from .bench_result import BenchResult
from .block import ServingBlock, begins_block, ends_block
from .measures import MEASURED
from .observed import Line, Observed, Unfinished
from .run import Run, is_run_start, read_arguments
from .sglang_one_batch import BatchLines, begins_batch, warm_up_mark
from .transfer_errors import TransferErrorCount, reports_transfer_error

__all__ = ["LogReader"]

_MOST_REFUSED = 20


class LogReader:
    """The results of one log, as far as it was read.

    Args:
        source: the file's name, as findings and rows give it.
        file_name: the last part of its path, which tells more of a sweep.
    """

    def __init__(self, source: str, file_name: str) -> None:
        self._source = source
        self._named = mad.read_file_name(file_name)
        self._results: list[BenchResult] = []
        self._unfinished: list[Unfinished] = []
        self._refused: list[Line] = []
        self._errors = TransferErrorCount()
        self._run = Run()
        self._block: ServingBlock | None = None
        self._batch: BatchLines | None = None
        self._note: mad.PointNote | None = None
        self._iteration: int | None = None
        self._sweep_begin = 0
        self._in_warm_up = False
        self._lines = 0

    def read(self, line: int, text: str) -> None:
        """Takes one clean line; its number counts from 1."""
        self._lines = line
        if reports_transfer_error(text):
            self._errors.add(line, text)
        if begins_block(text):
            self._end_block(complete=False)
            self._end_batch()
            self._block = ServingBlock(line)
        elif self._begins_something(line, text):
            pass
        elif self._block is not None:
            if ends_block(text):
                self._end_block(complete=True)
            else:
                self._block.read(line, text)
        elif self._batch is not None:
            # Another program may say "batch size" too.
            if not self._batch.read(text):
                self._run.read(text)
        else:
            self._run.read(text)

    def finish(self) -> Observed:
        """Returns what the log held; nothing is read after it."""
        self._end_run()
        sweeps = {result.dialect for result in self._results if result.iteration}
        if len(sweeps) == 1:  # A warm-up has no marker of its own.
            (sweep,) = sweeps
            self._results = [
                replace(result, dialect=sweep) if result.is_warm_up else result for result in self._results
            ]
        return Observed(
            self._source,
            self._lines,
            tuple(self._results),
            tuple(self._unfinished),
            self._errors.total(),
            tuple(self._refused),
        )

    def _begins_something(self, line: int, text: str) -> bool:
        """Returns True for a line on which a run, or a part of a sweep, begins."""
        if (iteration := mad.read_iteration(text)) is not None:
            self._end_run()
            if iteration == 1:
                self._mark_warm_ups()
            self._iteration = iteration
        elif mad.begins_sweep(text):
            self._end_run()
            self._iteration = None
            self._sweep_begin = len(self._results)
        elif (note := mad.read_note(text)) is not None:
            self._note = note
        elif (marker := mad.read_marker(line, text, self._note)) is not None:
            self._end_run()
            self._note = None
            self._run.marker = marker
        elif (arguments := read_arguments(text)) is not None:
            self._begin_client(arguments)
        elif is_run_start(text):
            if self._run.started is not None or self._block is not None:
                self._end_run()
            self._run.started = line
        elif (warms_up := warm_up_mark(text)) is not None:
            self._end_batch()
            self._in_warm_up = warms_up
        elif begins_batch(text) and self._block is None:
            self._end_batch()
            self._batch = BatchLines(line)
            self._batch.read(text)
        else:
            return False
        return True

    def _begin_client(self, arguments: dict[str, str]) -> None:
        self._end_batch()
        marker = self._run.marker
        if self._block is not None or self._run.started is not None:
            # The marker, if any, was of the run that ends here.
            self._end_run()
            marker = None
        # SGLang prints its arguments twice, the second time with what it found out.
        self._run = Run(marker, arguments)

    def _mark_warm_ups(self) -> None:
        for place in range(self._sweep_begin, len(self._results)):
            if self._results[place].iteration is None:
                self._results[place] = replace(self._results[place], iteration=0)

    def _end_run(self) -> None:
        """Ends whatever is open; a run that began without a result is noted."""
        had_result = self._end_block(complete=False) or self._end_batch()
        begun = self._run.begun_at
        if not had_result and begun is not None:
            self._note_unfinished(begun)
        self._run = Run()

    def _note_unfinished(self, line: int) -> None:
        marker, concurrency = self._run.marker, self._run.concurrency
        what = "a run" if concurrency is None else f"a run with {concurrency} requests at once"
        if marker:
            what += f", {marker.input_length} tokens in and {marker.output_length} out"
        lengths = (marker.input_length, marker.output_length) if marker else (None, None)
        self._unfinished.append(Unfinished(line, what, concurrency, *lengths, self._iteration if marker else None))
        self._errors.end_run(concurrency)

    def _end_block(self, *, complete: bool) -> bool:
        """Ends the open block and returns True when there was a run to it."""
        block, self._block = self._block, None
        if block is None:
            return False
        dialect = sglang_serving if sglang_serving.is_sglang_block(block) else vllm_serve
        result, refused = dialect.result_of_block(block, self._run, self._source)
        for label in refused[: _MOST_REFUSED - len(self._refused)]:
            self._refused.append(Line(block.line_of(label), f"{label}: {block.text(label)}"))
        if not any(getattr(result, column) is not None for column in MEASURED):
            self._note_unfinished(self._run.begun_at or block.line)
        else:
            self._add(mad.placed(result, self._run.marker, self._iteration, self._named), complete)
        self._run = Run()
        return True

    def _end_batch(self) -> bool:
        batch, self._batch = self._batch, None
        result = batch.result(self._run, self._source) if batch and not self._in_warm_up else None
        if result is None:
            return False
        self._add(result, result.complete)
        return True

    def _add(self, result: BenchResult, complete: bool) -> None:
        self._results.append(replace(result, complete=complete))
        self._errors.end_run(result.concurrency)
