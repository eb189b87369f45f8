"""The HTML page of a report, built from its inputs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from gradviz.commands.report.comparison_section import pair_sizes, pairs_of
from gradviz.commands.report.field_section import explorer_of, field_sizes
from gradviz.commands.report.inputs import CheckedGradient, ComparedRuns, InspectedFlow, ReportInput
from gradviz.commands.report.layer_chart import HEIGHT, WIDTH, Chart, chart_of
from gradviz.commands.report.page_data import LEVELS, Page, side_for
from gradviz.commands.report.saliency_section import map_of, sizes_of
from gradviz.heatmap.colours import NONFINITE, load_palette
from gradviz.heatmap.views import VIEWS
from gradviz.runs.environment import command_text
from gradviz.runs.reader import FieldResults, FinishedRun, SaliencyResults
from gradviz.runs.schema import Done, InspectedLayer, LayerGeometry, ResultLine
from gradviz.text import strict_json
from gradviz.version import VERSION

STYLE = "report.css"
SHARED = ("elements.js", "paint.js")
"""The scripts that all pages share; those of this page build on them."""
SCRIPTS = ("decode.js", "maps.js", "gallery.js", "explorer.js", "pairs.js", "main.js")
"""The scripts of this page, each after those that it builds on."""


@dataclass(frozen=True)
class Asset:
    """A style or a script, as it stands in the page."""

    text: Markup

    @property
    def digest(self) -> str:
        """The hash by which the page's security policy allows it."""
        return base64.b64encode(hashlib.sha256(self.text.encode()).digest()).decode()


@dataclass(frozen=True)
class Report:
    """A finished page."""

    html: str
    notes: tuple[str, ...]
    """Notes on the inputs that could not be shown, with reasons."""


MapOfRun = tuple[SaliencyResults, Done]
"""A result with its run."""


def report(
    inputs: Sequence[ReportInput],
    watch: Callable[[Sequence[MapOfRun]], Iterable[MapOfRun]] = iter,
    images: bool = False,
    left_out: Sequence[str] = (),
) -> Report:
    """Build the page of runs and documents.

    Args:
        inputs: the runs and documents.
        watch: yields the results of saliency runs unchanged, one by one, as they are drawn.
        images: True to embed input images that lie outside the folders of the runs.
        left_out: a note for each input that could not be read.

    Raises:
        UsageError: they are more than a page can hold.
    """
    runs = [each for each in inputs if isinstance(each, FinishedRun)]
    saliency = [run for run in runs if isinstance(run, SaliencyResults)]
    fields = [run for run in runs if isinstance(run, FieldResults)]
    flows = [each for each in inputs if isinstance(each, InspectedFlow)]
    checks = [each for each in inputs if isinstance(each, CheckedGradient)]
    comparisons = [each for each in inputs if isinstance(each, ComparedRuns)]
    compared = [run for comparison in comparisons for run in comparison.runs]
    page = Page(
        side_for(
            [
                *(size for run in saliency for size in sizes_of(run)),
                *(size for run in fields for size in field_sizes(run)),
                *(size for comparison in comparisons for size in pair_sizes(comparison)),
            ]
        ),
        images,
    )
    page.notes.extend(left_out)
    maps = [
        found
        for run, line in watch([(run, line) for run in saliency for line in run.done])
        if (found := map_of(page, run, line)) is not None
    ]
    data = {
        "views": {
            view.name: {"meaning": view.meaning, "signed": view.signed} for view in VIEWS.values()
        },
        "nonfinite": NONFINITE,
        "maps": maps,
        "explorers": [explorer_of(page, run) for run in fields],
        "comparisons": [pairs_of(page, comparison) for comparison in comparisons],
        "palettes": [_palette(name) for name in page.palettes],
    }
    if page.outside:
        page.notes.append(
            "input images that lie outside the folders of their runs are left out "
            f"({len(page.outside)} of them); give --images to embed them"
        )
    html = _template().render(
        version=VERSION,
        style=_asset("gradviz.commands.report", STYLE),
        scripts=[
            *(_asset("gradviz.heatmap", name) for name in SHARED),
            *(_asset("gradviz.commands.report", name) for name in SCRIPTS),
        ],
        data=htmlsafe_json_dumps(data, dumps=strict_json),
        blobs=page.blobs,
        views=VIEWS.values(),
        maps=maps,
        saliency=saliency,
        fields=[(run, _growth(run.document.layers)) for run in fields],
        flows=[(flow, _flow(flow.document.layers)) for flow in flows],
        checks=checks,
        comparisons=comparisons,
        runs=[
            (run, _facts(run)) for run in {each.name: each for each in (*runs, *compared)}.values()
        ],
        seeds=list(dict.fromkeys(found["seed"] for found in maps)),
        shared=all(run.record.settings.get("scale") == "shared" for run in saliency),
        failures=[(_where(line), line.error.message) for run in runs for line in run.failures],
        warnings=list(dict.fromkeys(_warnings(inputs))),
        notes=[("", note) for note in page.notes],
        side=page.side,
        levels=LEVELS,
        width=WIDTH,
        height=HEIGHT,
    )
    return Report(html, tuple(page.notes))


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("gradviz.commands.report", "web"),
        autoescape=True,  # file names may hold any characters
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _asset(package: str, name: str) -> Asset:
    return Asset(Markup(files(package).joinpath("web", name).read_text(encoding="utf-8")))


def _palette(name: str | None) -> dict[str, str]:
    """Write both colour maps as hexadecimal text, six digits a colour."""
    palette = load_palette(name)
    return {
        "sequential": palette.sequential_table.tobytes().hex(),
        "diverging": palette.diverging_table.tobytes().hex(),
    }


def _growth(layers: Sequence[LayerGeometry]) -> Chart | None:
    """Draw the growth of the field from layer to layer."""
    along = {
        f"size along {axis}": [None if layer.size is None else layer.size[n] for layer in layers]
        for n, axis in enumerate("xy")
    }
    x, y = along.values()
    return chart_of([layer.name for layer in layers], {"size": x} if x == y else along)


def _flow(layers: Sequence[InspectedLayer]) -> Chart | None:
    """Draw the change of the gradient and the activation from layer to layer."""
    kinds = {
        kind: [getattr(layer, kind) for layer in layers] for kind in ("gradient", "activation")
    }
    return chart_of([layer.name for layer in layers], kinds, log=True)


def _warnings(inputs: Sequence[ReportInput]) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each warning for a reader."""
    for each in inputs:
        match each:
            case InspectedFlow() | ComparedRuns():
                yield from ((each.name, warning) for warning in each.document.warnings)
            case FieldResults():
                for field in each.document.fields:
                    where = f"{field.image}, output pixel {field.pixel}"
                    if field.lost_at:
                        lost = ", ".join(field.lost_at)
                        yield where, f"partial: more may matter than is shown, because of {lost}"
                    if field.area and not field.local.area:
                        yield where, "the gradient is zero, though pixels can matter"
            case SaliencyResults():
                for line in each.done:
                    yield from ((_where(line), warning) for warning in line.warnings)


def _where(line: ResultLine) -> str:
    return line.image if line.seed is None else f"{line.image}, {line.seed}"


def _facts(run: FinishedRun) -> Iterator[tuple[str, str]]:
    """Yield the facts of a run: its command, its model, its settings."""
    record = run.record
    model = record.model
    yield "command", command_text(record.command)
    if record.folder is not None:
        yield "in the folder", record.folder
    yield "model", f"{model.path} ({model.format})"
    yield "SHA-256", str(model.sha256)
    yield "device", f"{model.device}, {model.precision}"
    yield "preprocess", _listed(record.preprocess)
    yield "settings", _listed(record.settings)
    if record.versions:
        yield "versions", _listed(record.versions)
    yield "images", str(len(record.images))


def _listed(values: Mapping[str, Any]) -> str:
    """Write the values that are not empty as JSON."""
    return "; ".join(
        f"{key}: {strict_json(value)}"
        for key, value in values.items()
        if value not in (None, [], {})
    )
