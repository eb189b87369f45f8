"""`gradviz check`: a model's gradient at an image against finite differences of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from gradviz.backward.graph import nodes_of
from gradviz.backward.vjp import inner, product, vjp
from gradviz.commands.check import finite_differences
from gradviz.commands.check.diagnosis import unseen_parts
from gradviz.field.output_maps import no_map
from gradviz.field.sites import site_of
from gradviz.image.load import LoadedImage
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model, deterministic
from gradviz.runs.schema import TREND, CheckDocument, CheckTest
from gradviz.seeds.seed import Seed, default_seed

RANDOM_DIRECTIONS = 3
"""The number of random directions per seed."""
STRONGEST_PIXELS = 3
"""The number of single pixels per seed, the strongest first; pixels without a gradient are left
out."""
NEARBY_POINTS = 5
"""The number of points beside the image that are tried if the gradient does not hold at the
image."""


def check_gradient(
    model: Model, image: LoadedImage, seeds: Sequence[Seed], random_seed: int = 0
) -> CheckDocument:
    """Test the gradient of every seed at an image, along random directions, itself, and pixels.

    Seeds that depend on the output, such as `top`, are resolved at the image and then fixed.

    Args:
        model: the model, best in float64.
        image: the image at which the gradient is tested.
        seeds: the seeds; empty for the default of the output's kind.
        random_seed: the seed of the random directions.

    Raises:
        SeedError: a seed does not fit the output.
        ModelError: the model cannot be run or differentiated.
    """
    x = model.batch_of(image.prepared.tensor).detach()
    y = _run(model, x.clone().requires_grad_())
    output = y.detach()[0]
    dtype = _least_precise(y, model.dtype)
    span = float(x.max() - x.min()) or 1.0
    ladder = finite_differences.Ladder(torch.finfo(dtype).eps)
    tests: list[CheckTest] = []
    for seed in seeds or (default_seed(output, model.detects),):
        site = site_of(model, image.prepared, seed)
        if seed.reads_map and y.dim() == 3:
            site = replace(site, no_map=no_map(model, x))
        v = seed.for_image(image.name).cotangent(output, site)
        tests += _Checker(_Seeded(model, v), seed.spec, x, span, ladder, random_seed).tests()
    measured = {test.seed for test in tests if test.judged and test.ok}
    unproven = [] if dtype == torch.float64 else unseen_parts(model, image)
    return CheckDocument(
        schema=1,
        kind="check",
        # No test failed, at least one of every seed could be measured, and nothing is hidden.
        ok=not unproven and all(test.ok is not False and test.seed in measured for test in tests),
        precision=str(dtype).removeprefix("torch."),
        tolerance=ladder.tolerance,
        span=span,
        tests=tests,
        unproven=unproven,
    )


@dataclass(frozen=True)
class _Seeded:
    """The function x ↦ ⟨v, f(x)⟩."""

    model: Model
    v: Tensor
    """The cotangent, of the shape of one image's output."""

    def __call__(self, x: Tensor) -> float:
        return inner(self.v, _run(self.model, x)[0])

    def size(self, x: Tensor) -> float:
        """Compute the root of the sum of squares of the terms of ⟨v, y⟩, as rounding adds up."""
        return float(product(self.v, _run(self.model, x)[0]).norm())

    def gradient(self, x: Tensor) -> Tensor:
        """Compute Jᵀ v by the backward pass."""
        x = x.detach().clone().requires_grad_()
        y = _run(self.model, x)
        with foreign_code(f"{self.model.name}: the backward pass failed"):
            return vjp(y, x, self.v[None])


@dataclass(frozen=True, eq=False)
class _Checker:
    """The tests of one seed."""

    function: _Seeded
    seed: str
    x: Tensor
    span: float
    ladder: finite_differences.Ladder
    random_seed: int

    def tests(self) -> Iterator[CheckTest]:
        generator = torch.Generator().manual_seed(self.random_seed)
        signs = finite_differences.random_signs(self.x, generator)
        shake = next(signs)
        image = _Point(self, self.x, shake)
        beside = [
            _Point(self, self._beside(direction, generator), shake)
            for direction in islice(signs, NEARBY_POINTS)
        ]
        along = _unit(image.g)
        directions = {f"random {n}": d for n, d in enumerate(islice(signs, RANDOM_DIRECTIONS), 1)}
        directions["gradient"] = along
        directions |= _strongest_pixels(image.g)
        slopes = {name: image.compare(direction) for name, direction in directions.items()}
        kink = any(slope.corner for slope in slopes.values())
        for name, direction in directions.items():
            yield self._test(name, direction, image, slopes[name], beside, kink)
        expected = inner(along, image.g)
        slope = finite_differences.linear_range(
            image.ray(along), expected, self.span, image.noise, self.ladder
        )
        yield self._result(TREND, expected, slope, ok=True)

    def _test(
        self,
        name: str,
        direction: Tensor,
        image: _Point,
        slope: finite_differences.Slope,
        beside: Sequence[_Point],
        kink: bool,
    ) -> CheckTest:
        """Test one direction at the image; beside it, if a kink or a leap hides the slope.

        The gradient that autograd chooses at a kink lies anywhere between the slopes around it.
        With several kinks at once it may even lie outside, also in directions in which they cancel.
        But a correct backward pass is correct almost everywhere: so the test is repeated a little
        off the kink, with the gradient of that point. If the function has no kink at the image, and
        its slope is not the gradient's, the gradient is wrong there.
        """
        expected = inner(direction, image.g)
        if slope.agrees or not image.g.isfinite().all():
            return self._result(name, expected, slope, slope.agrees)
        if kink or slope.agrees is None:
            for point in beside:
                found = point.compare(direction)
                if found.agrees:
                    there = inner(direction, point.g)
                    return self._result(name, there, found, True, kink=True)
                if found.agrees is False and slope.agrees is None:
                    slope, expected = found, inner(direction, point.g)
        return self._result(name, expected, slope, slope.agrees)

    def _beside(self, direction: Tensor, generator: torch.Generator) -> Tensor:
        """Choose a point so far off that the steps do not lead back to the kink."""
        lengths = torch.rand(self.x.shape, generator=generator).to(self.x)
        return self.x + self.ladder.beside * self.span * direction * (1 + lengths) / 2

    def _result(
        self,
        name: str,
        expected: float,
        slope: finite_differences.Slope,
        ok: bool | None,
        kink: bool = False,
    ) -> CheckTest:
        return CheckTest(
            name=name,
            seed=self.seed,
            expected=expected,
            measured=slope.measured,
            error=slope.error,
            step=slope.step,
            ok=ok,
            kink=kink,
        )


@dataclass(frozen=True, eq=False)
class _Point:
    """A point of the input space at which gradient and function are compared."""

    checker: _Checker
    x: Tensor
    shake: Tensor
    """The direction in which rounding is measured."""

    @cached_property
    def g(self) -> Tensor:
        """The gradient at the point."""
        return self.checker.function.gradient(self.x)

    @cached_property
    def noise(self) -> float:
        """The rounding noise at the point; at a leap of the function it is the leap."""
        ladder, function = self.checker.ladder, self.checker.function
        few_digits = 16 * ladder.epsilon * self.checker.span
        last_digits = ladder.epsilon * function.size(self.x)
        return finite_differences.noise_of(self.ray(self.shake), few_digits, last_digits)

    def ray(self, direction: Tensor) -> finite_differences.Ray:
        """Return the function along a direction from this point."""
        return lambda step: self.checker.function(self.x + step * direction)

    def compare(self, direction: Tensor) -> finite_differences.Slope:
        """Compare the slope in a direction with the one that the gradient predicts."""
        # The size of ⟨g, d⟩ for a random direction of this length.
        size = float(self.g.norm() * direction.norm()) / self.g.numel() ** 0.5
        checker = self.checker
        return finite_differences.compare_slope(
            self.ray(direction),
            inner(direction, self.g),
            size,
            checker.span,
            self.noise,
            checker.ladder,
        )


def _run(model: Model, x: Tensor) -> Tensor:
    with deterministic():  # so that a model that draws random numbers is one function
        return model(x)


def _least_precise(y: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the coarsest number type between the input and `y`: models may cast on their way."""
    passed = {form.dtype for node in nodes_of(y) for form in node._input_metadata}
    floating = {each for each in passed if each.is_floating_point}
    return max(floating | {dtype}, key=lambda each: torch.finfo(each).eps)


def _unit(g: Tensor) -> Tensor:
    """Scale `g` so that its largest entry is 1 in size; zeros stay zeros."""
    return g / (float(g.abs().max()) or 1.0)


def _strongest_pixels(g: Tensor) -> dict[str, Tensor]:
    """Map names of pixels to directions that move one pixel, each channel along its gradient."""
    strength = g.abs().sum((0, 1))
    width = strength.shape[1]
    found = {}
    for place in (
        strength.flatten().argsort(descending=True, stable=True)[:STRONGEST_PIXELS].tolist()
    ):
        y, x = divmod(place, width)
        if strength[y, x] == 0:  # there is no direction to move it in
            break
        direction = torch.zeros_like(g)
        # torch calls the sign of NaN 0, and a direction that moves nothing would pass.
        direction[..., y, x] = g[..., y, x].sign() + 0 * g[..., y, x]
        found[f"pixel {x},{y}"] = direction
    return found
