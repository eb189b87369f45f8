"""A forward pass that follows what each element is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradviz.arrays import Size
from gradviz.backward.arrangement import Arrangement
from gradviz.backward.layers import Layer, run_with_layers
from gradviz.errors import GradvizError
from gradviz.field.reach.arguments import META
from gradviz.field.reach.call import Call, Constant, Reach, image_reach
from gradviz.field.reach.extents import NOWHERE, Extents, NotRun, Untold, key_of
from gradviz.field.reach.operators import ALIKE, FREE, REACHES, SAME, SIZED, UNIFORM
from gradviz.field.reach.rearrangements import slice_of
from gradviz.field.reach.without_numbers import WithoutNumbers, without_numbers
from gradviz.model.model import Model
from gradviz.watch import arguments, storage_of, tensors_in, written


@dataclass(eq=False)
class _Note:
    """The findings about a tensor; they hang on the tensor itself."""

    of: Follower
    value: Reach | Constant | Untold
    version: int
    """The number of writes to its memory so far."""
    slice_of: tuple[Tensor, int, Any] | None = None
    """The tensor that it is a slice of, the axis, and the places there."""
    selects: bool = False


class Follower(WithoutNumbers):  # type: ignore[no-untyped-call]
    """Follows a forward pass without numbers, operator by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[tuple[int, int], Reach | Constant | Untold] = {}
        """The results of operations, by the numbers of the node in the graph and of the result."""
        self.tape: list[int] = []
        """The operators in order, hashed with their numbers but for those that are sizes."""
        self._written: dict[int, int] = {}

    def begin(self, x: Tensor, start: tuple[int, int]) -> None:
        """Take `x` for an image, or for the part of one that begins at a column and a row."""
        self._note(x, image_reach(tuple(x.shape), start))

    def value_of(self, tensor: Tensor) -> Reach | Constant:
        """Return the reach of a tensor.

        Raises:
            Untold: that is not known.
        """
        note = getattr(tensor, "_gradviz_note", None)
        if note is None or note.of is not self:
            if tensor.is_meta or _memory(tensor) in self._written:
                raise Untold("a tensor that came from elsewhere")
            return _constant(tensor)
        if note.version != self._version(tensor):
            raise Untold("a view of what was written to in between")
        if isinstance(note.value, Untold):
            raise note.value
        value: Reach | Constant = note.value
        return value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            result = func(*args, **kwargs)
            if not any(tensor.is_meta for tensor in tensors_in(result)):
                return result  # a constant, which its numbers tell
            # Empty or filled with one number, on the meta device.
            made = list(tensors_in(result))
            given = arguments(func, args, kwargs)
            shapes = tuple(tuple(each.shape) for each in made)
            call = Call(func._schema.name.partition("::")[2], given, shapes, self.value_of)
            values = self._follow(func, call, self._values(given))
            for tensor, value in zip(made, values, strict=True):
                self._note(tensor, value)
            return result
        given = arguments(func, args, kwargs)
        before = self._values(given)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        made = list(tensors_in(result))
        if not made:
            return result
        name = func._schema.name.partition("::")[2]
        name = name.rstrip("_") if func._schema.is_mutable else name
        call = Call(name, given, tuple(tuple(each.shape) for each in made), before.__getitem__)
        if name not in SAME:
            self.tape.append(key_of(name) if name in SIZED else call.numbers_key())
        values = self._follow(func, call, before)
        # Autograd has made the node already: it has the last number given out.
        node = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]
        if torch.is_grad_enabled() and any(each.requires_grad for each in tensors_in(given)):
            self.made.update({(node, n): value for n, value in enumerate(values)})
        if func._schema.is_mutable:
            self._write(written(func, given), values[0])
        else:
            for tensor, value in zip(made, values, strict=False):
                self._note(tensor, value)
            if name in ("slice", "select"):
                axis, places = (
                    slice_of(call) if name == "slice" else (given["dim"], [given["index"]])
                )
                made[0]._gradviz_note.slice_of = given["self"], axis, places  # type: ignore[attr-defined]
                made[0]._gradviz_note.selects = name == "select"  # type: ignore[attr-defined]
        return result

    def _values(self, given: dict[str, Any]) -> _Values:
        values = _Values()
        for tensor in tensors_in(given):
            if id(tensor) not in values.found:
                try:
                    values.found[id(tensor)] = self.value_of(tensor)
                except Untold as error:
                    values.found[id(tensor)] = error
        return values

    def _follow(self, func: Any, call: Call, before: _Values) -> list[Reach | Constant | Untold]:
        count = len(call.shapes)
        untold = [value for value in before.found.values() if isinstance(value, Untold)]
        try:
            if torch.Tag.nondeterministic_seeded in func.tags:
                raise Untold(f"{call.name} may draw random numbers")
            if call.name in UNIFORM or call.name in FREE:
                numbers = {k: v for k, v in call.given.items() if k in ("fill_value", "dtype")}
                return [Constant(key_of(call.name, numbers), uniform=True)] * count
            if call.name == "copy":
                return [_copied(call)]
            if not any(isinstance(value, Reach) for value in before.found.values()):
                if untold:
                    raise untold[0]
                same = before[call.given["self"]] if call.name in SAME else None
                if isinstance(same, Constant) and same.uniform:
                    return [same] * count
                if call.name in ALIKE and all(before[e].uniform for e in tensors_in(call.given)):  # type: ignore[union-attr]
                    keys = [before[e].key for e in tensors_in(call.given)]  # type: ignore[union-attr]
                    return [Constant(key_of(call.numbers_key(), keys), uniform=True)]
                keys = [before[each].key for each in tensors_in(call.given)]  # type: ignore[union-attr]
                return [Constant(key_of(call.numbers_key(), keys, n)) for n in range(count)]
            if call.name not in REACHES:
                raise Untold(call.name)
            found = REACHES[call.name](call)
        except Untold as error:
            return [error] * count
        several = found if isinstance(found, list) else [found]
        several += [None] * (count - len(several))
        return [Untold(call.name) if each is None else each for each in several]

    def _note(self, tensor: Tensor, value: Reach | Constant | Untold) -> None:
        note = _Note(self, value, self._version(tensor))
        tensor._gradviz_note = note  # type: ignore[attr-defined]

    def _version(self, tensor: Tensor) -> int:
        return self._written.get(_memory(tensor), 0)

    def _write(self, into: list[Any], value: Reach | Constant | Untold) -> None:
        """Note what a tensor holds now, and the tensors that it is a slice of."""
        targets = list(tensors_in(into))
        for tensor in targets:
            memory = _memory(tensor)
            self._written[memory] = self._written.get(memory, 0) + 1
        if len(targets) != 1:
            return
        (tensor,) = targets
        while True:
            note = getattr(tensor, "_gradviz_note", None)
            if note is not None and (
                note.of is not self or note.version != self._version(tensor) - 1
            ):
                note = None
            self._note(tensor, value)
            if note is None or note.slice_of is None:
                break
            base, axis, places = note.slice_of
            tensor._gradviz_note.slice_of = note.slice_of  # type: ignore[attr-defined]
            held = getattr(base, "_gradviz_note", None)
            if held is None or held.of is not self or held.version != self._version(base) - 1:
                break
            value = _assigned(base, held.value, tensor, value, (axis, places, note.selects))
            tensor = base


class _Values:
    """Return the reach of a call's arguments, by the identity of the tensor."""

    def __init__(self) -> None:
        self.found: dict[int, Reach | Constant | Untold] = {}

    def __getitem__(self, tensor: Tensor) -> Reach | Constant:
        value = self.found[id(tensor)]
        if isinstance(value, Untold):
            raise value
        return value


def _copied(call: Call) -> Reach | Constant:
    """Spread the reach of a copied tensor over the one that it is copied to."""
    value = call.value_of(call.given["src"])
    if isinstance(value, Constant):
        return value
    lead = (1,) * (len(call.shape) - call.given["src"].dim())
    return value.each(lambda e: e.each(lambda array: array.reshape(lead + array.shape)))


def _assigned(
    base: Tensor,
    old: Reach | Constant | Untold,
    part: Tensor,
    new: Reach | Constant | Untold,
    where: tuple[int, Any, bool],
) -> Reach | Constant | Untold:
    """Return the reach of a tensor after a slice of it was written."""
    axis, places, selects = where
    size = base.shape[axis]
    if not selects and len(places) == size:
        return new
    if isinstance(old, Untold) or isinstance(new, Untold):
        return old if isinstance(old, Untold) else new
    try:
        lines = []
        for number in (0, 1):
            before = _extents(old, base.dim(), number)
            after = _extents(new, part.dim(), number)
            if selects:
                after = after.each(lambda array: np.expand_dims(array, axis))
            sizes = list(base.shape)
            for other in range(base.dim()):
                if other == axis % base.dim() or before.shape[other] != after.shape[other]:
                    before = before.opened(other, sizes[other])
            arrays = [array.copy() for array in before.arrays]
            index: list[Any] = [slice(None)] * base.dim()
            index[axis] = places
            for array, given in zip(arrays, after.arrays, strict=True):
                array[tuple(index)] = given
            lines.append(Extents(*arrays).compact())
    except Untold as error:
        return error
    return Reach(*lines)


def _extents(value: Reach | Constant, rank: int, number: int) -> Extents:
    if isinstance(value, Reach):
        return (value.x, value.y)[number]
    if not value.uniform:
        raise Untold("a constant beside the image in one tensor")
    shape = (1,) * rank
    return Extents(
        np.full(shape, NOWHERE, np.int64),
        np.full(shape, -NOWHERE, np.int64),
        np.full(shape, value.key, np.uint64),
    )


def _memory(tensor: Tensor) -> int:
    memory: int = storage_of(tensor)._cdata
    return memory


def _constant(tensor: Tensor) -> Constant:
    """A tensor that has numbers: a parameter by its place in memory, any other by its numbers."""
    form = (tuple(tensor.shape), str(tensor.dtype))
    if isinstance(tensor, nn.Parameter):
        place = storage_of(tensor).data_ptr(), tensor.storage_offset(), tensor.stride()
        return Constant(key_of("parameter", place, form))
    if tensor.layout != torch.strided:
        raise Untold("a constant that is not dense")
    numbers = tensor.detach().cpu().contiguous().view(-1)
    if len(numbers) and bool((numbers == numbers[0]).all()):
        return Constant(key_of("all", numbers[0].item(), form[1]), uniform=True)
    data = numbers.view(torch.uint8).numpy().data
    return Constant(key_of("numbers", blake2b(data, digest_size=16).digest(), form))


Run = Callable[[Callable[[Tensor], Tensor], Tensor], tuple[Tensor, Mapping[str, Layer]]]

Followed = dict[str | None, tuple[tuple[int, ...], Reach]]
"""The shape of the output (None) and of layers by name, and what they were computed from."""


def follow(model: Model, channels: int, size: Size, start: tuple[int, int] = (0, 0)) -> Followed:
    """Follow a model's pass over an image of a size, or over a part that begins at a pixel.

    Layers whose output is not known are left out.

    Raises:
        Untold: it is not known what the output is computed from; the message says by what.
    """
    return _follow(model, channels, size, start, lambda call, x: (call(x), {}))


def follow_layers(model: Model, channels: int, size: Size) -> Followed:
    """Follow a model's pass as `follow` does, and tell of its layers too.

    Raises:
        Untold: it is not known what the output is computed from; the message says by what.
    """
    return _follow(model, channels, size, (0, 0), partial(run_with_layers, model.module))


def operations(model: Model, channels: int, size: Size) -> Sequence[int]:
    """The operators that a model calls for an image of a size, in order, as hashes.

    Raises:
        Untold: it does not run without numbers; the message says why.
    """
    follower = Follower()
    _run(follower, model, channels, size, (0, 0), lambda call, x: (call(x), {}))
    return follower.tape


def _follow(
    model: Model,
    channels: int,
    size: Size,
    start: tuple[int, int],
    run: Run,
) -> Followed:
    follower = Follower()
    y, layers = _run(follower, model, channels, size, start, run)
    value = follower.value_of(y)
    if isinstance(value, Constant):
        raise Untold("it does not depend on the image")
    found: Followed = {None: (tuple(y.shape), value)}
    for name, layer in layers.items():
        reach = follower.made.get((layer.end.node._sequence_nr(), layer.end.output_nr))
        if isinstance(reach, Reach) and layer.arrangement is not None:
            if layer.arrangement.plain:
                found[name] = layer.shape, reach
            else:
                found[name] = (
                    layer.arrangement.map_shape,
                    reach.each(partial(_as_maps, layer.arrangement)),
                )
    return found


def _as_maps(arrangement: Arrangement, extents: Extents) -> Extents:
    """Read what is behind the elements of a layer's output as maps, of one channel."""
    for axis in arrangement.channels:
        extents = extents.reduced(axis)
    for axis, size in enumerate(arrangement.shape):
        if axis not in arrangement.channels:
            extents = extents.opened(axis, size)
    images, _, height, width = arrangement.map_shape
    order = arrangement.order.numpy()
    return extents.each(lambda array: array.reshape(-1)[order].reshape(images, 1, height, width))


def _run(
    follower: Follower, model: Model, channels: int, size: Size, start: tuple[int, int], run: Run
) -> tuple[Tensor, Mapping[str, Layer]]:
    width, height = size
    x = torch.empty(1, channels, height, width, dtype=model.dtype, device=META).requires_grad_()
    with follower:
        follower.begin(x, start)
        try:
            return run(without_numbers(model), x)
        except GradvizError as error:
            raise NotRun(f"it does not run without numbers: {error}") from error
