"""The figure of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gradviz.commands.saliency.settings import Settings
from gradviz.errors import UsageError
from gradviz.heatmap.colours import load_palette
from gradviz.heatmap.views import VIEWS
from gradviz.image.find import Source
from gradviz.image.preprocess import Preprocess
from gradviz.runs.folder import Store

KINDS = ("png", "pdf", "svg")
"""The suffixes of the files that can be written."""

MOST_ROWS = 24
"""How many results a figure has at most, each in a row of its own."""


def check_figure(path: Path, rows: int, array: str, images: Sequence[Path]) -> None:
    """Notice early what a figure cannot be.

    Args:
        rows: the number of results, if none fails.
        array: whether arrays are kept, as in `Settings`.
        images: files that must not be written over.

    Raises:
        UsageError: it is another kind of file, or one of the images; or has too many rows.
    """
    if _kind(path) not in KINDS:
        raise UsageError(f"--figure {path}: expected a file that ends in {', '.join(KINDS)}")
    if array == "none":
        raise UsageError("--figure draws from the arrays; leave out --array none")
    if rows > MOST_ROWS:
        raise UsageError(
            f"--figure: {rows} results are more than the {MOST_ROWS} rows of a figure; name fewer "
            "images or seeds"
        )
    if path.is_dir():
        raise UsageError(f"--figure {path}: is a folder; name a file in it")
    if path.exists() and any(image.exists() and path.samefile(image) for image in images):
        raise UsageError(f"--figure {path}: is one of the images; name another file")


def write_figure(
    path: Path,
    store: Store,
    sources: Sequence[Source],
    preprocess: Preprocess,
    settings: Settings,
    title: str,
) -> None:
    """Draw the results that a run has put into its folder; nothing where there are none.

    Raises:
        UsageError: an image is gone, or the disk refuses.
    """
    from gradviz.commands.saliency.write import Recorder  # imports torch
    from gradviz.heatmap import figure  # imports matplotlib, which is slow

    palette = load_palette(settings.colormap)
    by_name = {source.name: source for source in sources}
    recorder = Recorder(store, settings, preprocess, palette, {}, by_name)
    view = VIEWS[next((view for view in settings.views if view != "overlay"), "heatmap")]
    rows = []
    for line in store.lines():
        if line["status"] == "ok":
            result = recorder.result(line)
            scales = line["scales"]
            rows.append(
                figure.Row(
                    name=f"{line['image']}, {line['seed']}",
                    g=result.colour_array,
                    shown=result.prepared.shown,
                    scale=scales[view.name],
                    heat=scales["heatmap"],
                )
            )
    if rows:
        draw = partial(figure.write_figure, kind=_kind(path), rows=rows, view=view)
        Store(path.parent).save(path.name, partial(draw, palette=palette, title=title))


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
