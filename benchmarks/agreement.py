"""How far gradients differ by rounding alone, and by changes that matter: what metrics are to tell.

python -m benchmarks.agreement FILE    write the gradients of all networks into an .npz
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import gradviz
from benchmarks.agreement_nets import RECIPE, SAMPLES, Subject, subjects
from benchmarks.measurement import Measurement
from benchmarks.nets import vgg16
from gradviz.arrays import Array
from gradviz.commands.compare.metrics import METRICS, finite_parts
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.preprocess import Preprocess
from gradviz.model.fast import optimised
from gradviz.model.model import Model
from gradviz.seeds.seed import parse_seed

IMAGES = SAMPLES.parent / "sample_images"
PHOTOS = tuple(IMAGES / f"{name}.png" for name in ("room_01", "room_02", "room_03", "room_04"))
PHOTOS += tuple(IMAGES / f"shapes_0{n}.png" for n in (1, 2, 3, 4))
BATCH = 4
"""The images that share a pass, unless a pair is about that."""
NOISE = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
"""The standard deviations of what multiplies each weight, beside 1."""
BY_KIND = 1e-3
"""The noise that is counted for each kind of network as well."""
SEEN = 39 / 40
"""The share of maps in which the largest noise is to be seen."""
JUDGE = "relative-l2"
"""The metric that is held to bounds; the others are shown beside it."""
SHOWN = {name: METRICS[name] for name in ("relative", JUDGE, "cosine", "iou")}
"""The metrics that leave room for rounding."""
NORMALISED = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""The other preprocessing: that of ImageNet, where a recipe has other numbers."""
OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""What makes torch compute as on a processor with fewer instructions."""

Maps = dict[str, Array]
"""Gradients by image and seed. What failed is not there."""


@dataclass(frozen=True)
class Pair:
    """One gradient, computed twice."""

    subject: Subject
    difference: str
    """What was different: `float64`, `other weights`, `noise 0.001`, …"""
    values: Mapping[str, float]
    """The metrics."""
    broken: bool
    """True if a map is missing or NaN in one of the two, which no tolerance excuses."""

    def fails(self, metric: str) -> bool:
        """Return True if `compare` finds a difference by the metric at its default tolerance."""
        row = METRICS[metric]
        return self.broken or not row.holds(self.values[metric], row.tolerance)


def pair_of(subject: Subject, difference: str, a: Array, b: Array | None) -> Pair:
    """Measure two maps as `compare` does; None stands for one that is not there."""
    if b is None or a.shape != b.shape:
        return Pair(subject, difference, dict.fromkeys(METRICS, math.nan), True)
    a, b, broken = finite_parts(a, b)
    values = {name: metric.function(a, b) for name, metric in METRICS.items()}
    return Pair(subject, difference, values, bool(broken))


class Gradients:
    """The gradients of one network at some photos, computed in several ways."""

    def __init__(self, subject: Subject, photos: Sequence[Path]) -> None:
        self.subject = subject
        self.photos = photos
        self.net = subject.build({})
        self.images = self._images(subject.recipe)
        self.plain = self.maps(gradviz.wrap(self.net))

    def _images(self, recipe: Preprocess) -> list[LoadedImage]:
        return [load_image(Source(path, path.name), recipe) for path in self.photos]

    def _batch(self) -> Tensor:
        # TorchScript may hold the number of images that it was traced with.
        return torch.stack([image.prepared.tensor for image in self.images[:BATCH]])

    def maps(
        self,
        model: Model,
        images: Sequence[LoadedImage] | None = None,
        batch: int = BATCH,
        faster: bool = False,
    ) -> Maps:
        """Compute the gradients with a model."""
        images = self.images if images is None else images
        fast = optimised(model, self._batch().to(model.dtype)) if faster else None
        explainer = Explainer(model, Settings(batch_size=batch, tile="off"), faster=fast)
        seeds = [parse_seed(seed) for seed in self.subject.seeds]
        return {
            f"{each.image} {each.seed}": each.array.astype(np.float32)
            for each in explainer.outcomes(images, seeds)
            if isinstance(each, Attribution)
        }

    def pairs(self, difference: str, maps: Maps) -> Iterator[Pair]:
        """Compare with the plain gradients, map by map."""
        for key, a in self.plain.items():
            yield pair_of(self.subject, difference, a, maps.get(key))

    def roundings(self) -> Iterator[Pair]:
        """Compute the same in other ways, between which there is rounding only."""
        net, wrap = self.net, gradviz.wrap
        yield from self.pairs("float64", self.maps(wrap(net, precision="float64")))
        yield from self.pairs("batches of 1", self.maps(wrap(net), batch=1))
        with threads(2):
            yield from self.pairs("two threads", self.maps(wrap(net)))
        yield from self.pairs("faster form", self.maps(wrap(net), faster=True))
        x = self._batch()
        with TemporaryDirectory() as folder:
            script, program = f"{folder}/net.ts", f"{folder}/net.pt2"
            with torch.no_grad(), warnings.catch_warnings():  # the tracer warns of every len()
                warnings.simplefilter("ignore")
                torch.jit.save(_scripted(net, x), script)
                free = ({0: torch.export.Dim.AUTO},)
                torch.export.save(torch.export.export(net, (x,), dynamic_shapes=free), program)
            yield from self.pairs("TorchScript", self.maps(gradviz.load_model(script)))
            faster = self.maps(gradviz.load_model(script), faster=True)
            yield from self.pairs("TorchScript, faster form", faster)
            yield from self.pairs(".pt2", self.maps(gradviz.load_model(program, trust=True)))

    def breaks(self) -> Iterator[Pair]:
        """Break the network, its weights or its preprocessing."""
        for name, changes in self.subject.breaks.items():
            maps = self.maps(gradviz.wrap(self.subject.build(changes)))
            yield from self.pairs(name, maps)
        images = self._images(self.subject.recipe.model_copy(update=NORMALISED))
        maps = self.maps(gradviz.wrap(self.net), images)
        yield from self.pairs("other preprocessing", maps)
        broken = deepcopy(self.net)
        with torch.no_grad():
            next(broken.parameters()).view(-1)[0] = math.nan
        yield from self.pairs("NaN in a weight", self.maps(gradviz.wrap(broken)))

    def noise(self) -> Iterator[Pair]:
        """Multiply every weight by 1 and some noise."""
        for size in NOISE:
            net = deepcopy(self.net)
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for weights in net.parameters():
                    weights.mul_(1 + size * torch.randn(weights.shape, generator=generator))
            yield from self.pairs(f"noise {size:g}", self.maps(gradviz.wrap(net)))


def _scripted(net: nn.Module, x: Tensor) -> torch.jit.ScriptModule:
    """Compile a network, or record one call of it if its code cannot be compiled."""
    try:
        return torch.jit.script(net)
    except (RuntimeError, torch.jit.frontend.NotSupportedError):
        made: torch.jit.ScriptModule = torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
        return made


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_plain(file: str) -> None:
    """Write the plain gradients of all networks, as a process of its own computes them."""
    with threads(1):
        maps = {
            f"{subject.name}: {key}": array
            for subject in subjects()
            for key, array in Gradients(subject, PHOTOS).plain.items()
        }
    np.savez(file, **maps)  # type: ignore[arg-type]


def on_old_processor(folder: str) -> Mapping[str, Array]:
    """Compute the plain gradients of all networks with fewer instructions."""
    file = f"{folder}/plain.npz"
    command = [sys.executable, "-m", "benchmarks.agreement", file]
    subprocess.run(command, check=True, env={**os.environ, **OLD_PROCESSOR})
    return dict(np.load(file))


def measurements() -> Iterator[Measurement]:
    """Count false alarms, breaks that are caught, and weight noise that is seen."""
    roundings: list[Pair] = []
    breaks: list[Pair] = []
    noise: list[Pair] = []
    with TemporaryDirectory() as folder, threads(1):
        old = on_old_processor(folder)
        for subject in subjects():
            found = Gradients(subject, PHOTOS)
            maps = {key: old[f"{subject.name}: {key}"] for key in found.plain}
            roundings += [*found.roundings(), *found.pairs("fewer instructions", maps)]
            breaks += found.breaks()
            noise += found.noise()
    yield from _false_alarms(roundings)
    yield deep()
    yield from _caught(breaks)
    yield from _seen(noise)


def deep() -> Measurement:
    """Compute a network of many layers and without norms in float32 and float64."""
    recipe = RECIPE.model_copy(update={"resize": (224, 224)})
    seeds = ("ones", "pixel:3,3", "channel:5")
    subject = Subject("VGG-16", lambda _: vgg16(), {}, recipe, seeds)
    with threads(1):
        found = Gradients(subject, PHOTOS[:3])
        doubles = gradviz.wrap(found.net, precision="float64")
        pairs = [*found.pairs("float64", found.maps(doubles))]
    worst = max(pair.values[JUDGE] for pair in pairs)
    what = f"largest `{JUDGE}` of {len(pairs)} gradients, VGG-16 at 224²"
    return Measurement(what, "float64", (worst,), "", most=METRICS[JUDGE].tolerance)


def _false_alarms(pairs: Sequence[Pair]) -> Iterator[Measurement]:
    for metric in SHOWN:
        alarms = sum(pair.fails(metric) for pair in pairs)
        what = f"false alarms of `{metric}` among {len(pairs)} pairs that differ by rounding"
        most = 0 if metric == JUDGE else None
        yield Measurement(what, "", (alarms,), "", most=most)
    for metric, row in SHOWN.items():
        for kind, some in _grouped(pairs, lambda pair: pair.subject.kind):
            worst = row.worst(pair.values[metric] for pair in some)
            alarms = sum(pair.fails(metric) for pair in some)
            what = f"farthest `{metric}` by rounding, {kind}"
            yield Measurement(what, "", (worst,), "", remark=f"fails in {alarms} of {len(some)}")
    for difference, some in _grouped(pairs, lambda pair: pair.difference):
        worst = max(pair.values[JUDGE] for pair in some)
        yield Measurement(f"largest `{JUDGE}` by rounding, {difference}", "", (worst,), "")


def _caught(pairs: Sequence[Pair]) -> Iterator[Measurement]:
    for difference, some in _grouped(pairs, lambda pair: pair.difference):
        for metric, row in SHOWN.items():
            networks = _grouped(some, lambda pair: pair.subject.name)
            caught = sum(any(pair.fails(metric) for pair in maps) for _, maps in networks)
            values = [pair.values[metric] for pair in some if not pair.broken]
            nearest = min(map(row.distance, values), default=math.nan)
            maps = sum(pair.fails(metric) for pair in some)
            yield Measurement(
                f"networks whose break is caught by `{metric}`: {difference}",
                "",
                (caught,),
                "",
                least=len(networks) if metric == JUDGE else None,
                remark=f"of {len(networks)}; in {maps} of {len(some)} maps; smallest {nearest:.2g}",
            )


def _seen(pairs: Sequence[Pair]) -> Iterator[Measurement]:
    of_one_size = [pair for pair in pairs if pair.difference == f"noise {BY_KIND:g}"]
    kinds = _grouped(of_one_size, lambda pair: f"{pair.difference}, {pair.subject.kind}")
    for name, some in [*_grouped(pairs, lambda pair: f"{pair.difference}, all"), *kinds]:
        for metric in SHOWN:
            share = sum(pair.fails(metric) for pair in some) / len(some)
            networks = _grouped(some, lambda pair: pair.subject.name)
            seen = sum(any(pair.fails(metric) for pair in maps) for _, maps in networks)
            yield Measurement(
                f"share of maps in which `{metric}` sees weight {name}",
                "",
                (share,),
                "",
                least=SEEN if (metric, name) == (JUDGE, f"noise {NOISE[0]:g}, all") else None,
                remark=f"in a map or more of {seen} of {len(networks)} networks",
            )


def _grouped(pairs: Iterable[Pair], name: Callable[[Pair], str]) -> list[tuple[str, list[Pair]]]:
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[name(pair)].append(pair)
    return [*groups.items()]


if __name__ == "__main__":
    write_plain(sys.argv[1])
