"""Probes: recordings of one forward pass, from which fields of output pixels are computed.

The structural field of an output pixel is its theoretical receptive field (Luo et al. 2016,
arXiv:1701.04128): the input pixels that can matter to it, for any weights and any image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import numpy as np
import torch
from torch import Tensor

from gradviz.arrays import Box, Floats, Mask, Size, box_around
from gradviz.backward.arrangement import Arrangement
from gradviz.backward.graph import End, kind_of, nodes_of, shape_of
from gradviz.backward.layers import find_layer, run_with_layers
from gradviz.errors import GradvizError, ModelError, SeedError, UsageError
from gradviz.field.dependence.propagate import Propagation, propagate
from gradviz.field.dependence.trace import DependenceTrace
from gradviz.field.output_maps import no_map_in
from gradviz.field.reach.arguments import META
from gradviz.field.reach.without_numbers import WithoutNumbers, reads_unseen, without_numbers
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.model.random_input import RandomInput
from gradviz.text import listed


@dataclass(frozen=True, eq=False)
class StructuralField:
    """The input pixels that can matter to an output pixel, for any weights and any image."""

    mask: Mask = field(repr=False)
    """[H, W] of the input."""
    lost_at: tuple[str, ...]
    """The operations that choose by value or are unknown; empty if the mask is exact."""
    through: str | None
    """The operation that makes it cover a whole map, if one does."""

    @property
    def status(self) -> str:
        """The status `exact` or `partial`."""
        return "partial" if self.lost_at else "exact"

    @cached_property
    def box(self) -> Box | None:
        """The smallest box around the mask, in pixels of the input; None if nothing matters."""
        return box_around(self.mask)


@dataclass(frozen=True, eq=False)
class Target:
    """The output of a model or of a layer, about whose pixels is asked."""

    end: End
    """Its place in the graph."""
    arrangement: Arrangement | None = None
    """The way to read it as maps; None if it is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [..., h, w] of its maps."""
        return shape_of(self.end) if self.arrangement is None else self.arrangement.map_shape

    def elements(self, pixels: Tensor) -> Tensor:
        """Find the elements of the output that belong to some pixels of its maps.

        Args:
            pixels: of the shape of the maps.

        Returns:
            of the shape of the output.
        """
        return pixels if self.arrangement is None else self.arrangement.from_maps(pixels)


class Probe:
    """A recording of one forward pass, from which fields of output pixels are computed.

    Args:
        model: the model that is run.
        tensor: [C, H, W], float32, the input of one image; on the meta device for a pass
            without numbers, which has no gradients.
        layer: the layer whose output is probed; None for the model's.

    Raises:
        ModelError: the model fails on the input, or draws random numbers.
    """

    def __init__(self, model: Model, tensor: Tensor, layer: str | None = None) -> None:
        self.model = model
        ran = without_numbers(model) if tensor.is_meta else model
        self.x = ran.batch_of(tensor)
        watched = WithoutNumbers() if tensor.is_meta else nullcontext()
        with watched, DependenceTrace() as trace:
            y, self.layers = run_with_layers(model.module, ran, self.x, layout=model.layout)
        if trace.random:
            raise ModelError(
                f"{model.name}: draws random numbers ({', '.join(trace.random)}), so its "
                "field is another in every call; switch that off before saving the model"
            )
        self.output = y
        self.target = self.target_of(layer)
        # What is decided behind a layer does not matter to it.
        end = self.target.end
        last = inf if isinstance(end, Tensor) else end.node._sequence_nr()
        before = (name for name, number in trace.selections.items() if number <= last)
        self.selections = (*before, *reads_unseen(model.module))
        self.shape = self.target.shape

    @property
    def size(self) -> Size:
        """The width and height of the output map.

        Raises:
            UsageError: as `check_map`.
        """
        self.check_map()
        return self.shape[-1], self.shape[-2]

    def check_map(self) -> None:
        """Check that the output is a map.

        Raises:
            UsageError: it has no pixels.
        """
        if len(self.shape) not in (3, 4) or 0 in self.shape:
            raise UsageError(
                f"the output {list(self.shape)} has no pixels; look at a layer with --layer: "
                f"{listed(self.layers.maps, 8) or 'none of them has a map either'}"
            )

    def check_rows(self) -> None:
        """Check that rows and columns lie along the last two axes of the model's output.

        Raises:
            UsageError: the pass shows that they do not, as if the channels come last; or the
                output may as well be rows of numbers.
        """
        output = self.layers.output
        if output.spatial and output.arrangement is not None and not output.arrangement.rows_last:
            raise UsageError(
                f"the output {list(self.shape)} does not have its rows and columns last: move them "
                "there in a small module around the model, or look at a layer with --layer: "
                f"{', '.join(self.layers.maps[:8]) or 'none of them has a map'}"
            )
        if (reason := no_map_in(self.layers, self.model.layout)) is not None:
            raise UsageError(
                f"the output {list(self.shape)} is no map: {reason}; look at a layer with --layer: "
                f"{', '.join(self.layers.maps[:8]) or 'none of them has a map'}"
            )

    def structural(self, x: int, y: int, target: Target | None = None) -> StructuralField:
        """Find the pixels that can matter to output pixel (x, y), on any of its channels.

        Args:
            x: the column in the output map, from 0.
            y: the row, from 0.
            target: the output of a layer in place of the probe's own.
        """
        target = self.target if target is None else target
        found = propagate(target.end, self.x, self._asked(x, y, target))
        return StructuralField(_mask(found), (*self.selections, *found.lost_at), found.through)

    def lines(self, indices: Sequence[int], axis: int) -> Mask:
        """Find the pixels that can matter to whole columns or rows of the output map.

        Args:
            indices: the columns or rows, from 0.
            axis: 0 for columns, 1 for rows.

        Returns:
            bool [H, W] of the input.
        """
        asked = torch.zeros(self.shape, dtype=torch.bool, device=self.model.device)
        asked.movedim(-1 - axis, 0)[list(indices)] = True
        return _mask(propagate(self.target.end, self.x, self.target.elements(asked)))

    def gradient(self, x: int, y: int) -> Floats:
        """Compute the plain gradient of output pixel (x, y), all channels added.

        Args:
            x: the column in the output map, from 0.
            y: the row, from 0.

        Returns:
            [C, H, W], float32.
        """
        v = self._asked(x, y, self.target).to(self.x.dtype)
        end: End = self.target.end
        given: Tensor | None = v
        if isinstance(end, Tensor):
            # As `grad_outputs`, v would make torch import SymPy first, half a second.
            end, given = (end * v).sum(), None
        with foreign_code("the backward pass failed"):
            (gradient,) = torch.autograd.grad(
                end, self.x, given, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        array: Floats = gradient[0].float().cpu().numpy()
        return array

    def _asked(self, x: int, y: int, target: Target) -> Tensor:
        width, height = target.shape[-1], target.shape[-2]
        for name, index, size in (("x", x, width), ("y", y, height)):
            if not 0 <= index < size:
                raise SeedError(
                    f"--pixel {x},{y}: {name} {index} is outside the output map: 0 to {size - 1}"
                )
        asked = torch.zeros(target.shape, dtype=torch.bool, device=self.model.device)
        asked[..., y, x] = True
        return target.elements(asked)

    def target_of(self, layer: str | None) -> Target:
        """Find the output (None), or that of a layer.

        Raises:
            UsageError: there is no such layer, or its output is not a map; the message lists the
                existing ones.
        """
        if layer is None:
            return Target(self.output)
        found = find_layer(self.layers, layer)
        if not found.is_map:
            maps = [each.name for each in reversed([*self.layers.values()]) if each.is_map]
            raise UsageError(
                f"--layer {layer}: its output {list(found.shape)} {found.unlike_a_map}, and a "
                f"receptive field needs a map, as in {listed(maps, 8) or 'no layer'}"
            )
        plain = found.arrangement is None or found.arrangement.plain
        return Target(found.end, None if plain else found.arrangement)


ProbeFactory = Callable[[Size], Probe]
"""A factory of probes of one model on random input of a width and a height."""


def random_probes(model: Model, random: RandomInput, layer: str | None = None) -> ProbeFactory:
    """Make probes of a model, or of one of its layers, on random input of any size.

    Args:
        model: the model.
        random: the source of random images.
        layer: the layer whose output is probed; None for the model's.
    """
    return lambda size: Probe(model, random.draw(size).tensor, layer)


def probes_without_numbers(small: Probe, layer: str | None = None) -> ProbeFactory | None:
    """Make probes of the same model without numbers, which cost nothing at any size.

    Args:
        small: a pass with numbers on a small input.
        layer: the layer whose output is asked about; None for the model's.

    Returns:
        None if the model needs numbers: it decides by them, or runs otherwise without them.
    """
    channels, *size = small.x.shape[1:]

    def probe_at(size: Size) -> Probe:
        width, height = size
        empty = torch.empty(channels, height, width, dtype=small.model.dtype, device=META)
        return Probe(small.model, empty, layer)

    if small.selections:
        return None
    try:
        probe = probe_at((size[1], size[0]))
        middle = probe.shape[-1] // 2, probe.shape[-2] // 2
        there, here = (each.structural(*middle) for each in (small, probe))
    except (GradvizError, RuntimeError, IndexError):
        return None
    kinds, same = ([kind_of(node) for node in nodes_of(each.target.end)] for each in (small, probe))
    if kinds != same or there.lost_at or here.lost_at or not np.array_equal(there.mask, here.mask):
        return None
    return probe_at


def _mask(found: Propagation) -> Mask:
    mask: Mask = found.tainted[0].any(dim=0).cpu().numpy()
    return mask
