"""A progress bar on stderr, where somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vectorferry.connector._engine import Progress as Moment
from vectorferry.connector._engine import ProgressCallback
from vectorferry.connector.cli._console import for_people, plain

__all__ = ["progress_shown"]


@contextmanager
def progress_shown() -> Iterator[ProgressCallback | None]:
    """Yields what a run is to call; None where stderr is no terminal. The bar is gone at the end."""
    console = for_people()
    if not console.is_terminal:
        yield None
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("assets, {task.fields[written]:,} features", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        yield _shown_in(bar)


def _shown_in(bar: Progress) -> ProgressCallback:
    task = bar.add_task("listing", total=None, written=0)

    def show(moment: Moment) -> None:
        up_to_date = moment.listed - moment.to_pull
        bar.tasks[task].total = moment.total  # update() takes None for "as it was", which is another collection's
        bar.update(
            task,
            description=plain(moment.collection, 20),
            completed=up_to_date + moment.pulled,
            written=moment.written,
        )

    return show
