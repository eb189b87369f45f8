"""The answers to what the page asks, as it draws them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from time import monotonic

import numpy as np
from PIL import Image

from gradviz.arrays import Box, Floats
from gradviz.commands.explore.command import command_for, words_for
from gradviz.commands.explore.engine import Engine
from gradviz.commands.explore.fields import Fields
from gradviz.commands.explore.model_output import ModelOutput
from gradviz.commands.explore.packing import PackedAnswer, Plane
from gradviz.commands.explore.question import (
    WINNING,
    Asked,
    Channel,
    OutputAsked,
    Question,
    SaveAsked,
)
from gradviz.commands.explore.save import new_folder, save
from gradviz.commands.explore.session import FEW_CHANNELS, Session
from gradviz.commands.explore.worker import Task
from gradviz.commands.saliency.run import Job
from gradviz.errors import GradvizError, UsageError
from gradviz.heatmap.clip import CLIP, parse_clip
from gradviz.heatmap.colours import load_palette
from gradviz.heatmap.views import VIEWS
from gradviz.image.load import load_photo
from gradviz.runs.environment import command_text

THUMBNAIL = (240, 120)
"""The most columns and rows of a small picture."""


class Answers:
    """The models of a session, and how their answers are told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._engines = [Engine(each, session.sources, session.rule) for each in session.models]

    def engine(self, model: int) -> Engine:
        """Return the engine of a model.

        Raises:
            UsageError: there is no such model.
        """
        if not 0 <= model < len(self._engines):
            raise UsageError(f"model {model}: there are {len(self._engines)}, from 0")
        return self._engines[model]

    def prepare(self, task: Task) -> None:
        """Answer what a page asks first, while the browser loads its scripts."""
        for model, engine in enumerate(self._engines):
            task.give_way("the first answer is prepared")
            shape = engine.fields(0).shape
            task.give_way("the first answer is prepared")  # the page draws once it has the fields
            match shape:
                case (_, height, width):
                    seed = f"pixel:{width // 2},{height // 2}"
                case (_,):
                    seed = ""
                case _:
                    continue
            question = Question(client="the server", number=0, model=model, seed=seed)
            with suppress(GradvizError):  # the page will ask it too, and show why it fails
                engine.attribution(question, task.show)

    def picture(self, model: int, image: int, small: bool) -> Image.Image:
        """Return what a model sees of an image, or a small picture of the file."""
        engine = self.engine(model)
        if not small:
            return Image.fromarray(engine.image(image).prepared.shown)
        found = Image.fromarray(load_photo(engine.source(image), engine.preprocess))
        found.thumbnail(THUMBNAIL)
        return found

    def output(self, asked: OutputAsked, task: Task) -> bytes:
        """Answer what the model makes of an image."""
        engine = self.engine(asked.model)
        task.show("the model runs")

        def between(done: int, every: int) -> None:
            task.give_way(f"the model runs: {done} of {every} parts of the image")

        found = engine.output(asked.image, between)
        channel, planes = _planes(found, asked.channel)
        return PackedAnswer(
            {
                **self._place(asked),
                "kind": found.kind,
                "shape": list(found.shape),
                "channel": channel,
                "channels": None if found.planes is None else len(found.planes),
                "classes": [asdict(each) for each in found.classes],
                "detections": [
                    {"place": n, **asdict(each)} for n, each in enumerate(found.detections)
                ],
                "milliseconds": _milliseconds(task),
            },
            planes,
        ).body()

    def fields(self, asked: Asked) -> dict[str, object]:
        """Answer which box of the image each pixel of a map looks at."""
        return self._boxes(asked, self.engine(asked.model).fields(asked.image))

    def known_fields(self, asked: Asked) -> dict[str, object] | None:
        """Answer what `fields` has answered for such an image before; any thread may ask."""
        found = self.engine(asked.model).known_fields(asked.image)
        return None if found is None else self._boxes(asked, found)

    def _boxes(self, asked: Asked, found: Fields) -> dict[str, object]:
        known = {"x": found.columns, "y": found.rows} if found.rows else None
        return {
            **self._place(asked),
            "shape": found.shape,
            "fields": known,
            "reason": found.reason,
        }

    def _place(self, asked: Asked) -> dict[str, object]:
        frame = self.engine(asked.model).image(asked.image).prepared.frame
        return {
            "number": asked.number,
            "model": asked.model,
            "image": asked.image,
            "input": list(frame.input),
        }

    def layers(self, asked: Asked) -> dict[str, object]:
        """List the layers that can be read."""
        return {"layers": self.engine(asked.model).layers(asked.image)}

    def save(self, asked: SaveAsked, task: Task) -> dict[str, object]:
        """Write an answer into a new folder, as `gradviz saliency` does."""
        if asked.reacts is not None:
            raise UsageError("reacts: is a question of the page alone; save a seed")
        engine = self.engine(asked.model)
        clip = parse_clip(asked.clip)
        settings = replace(
            engine.settings(asked),
            seeds=(asked.seed,) if asked.seed else (),
            views=tuple(dict.fromkeys(asked.views)),
            clip=clip,
            colormap=asked.colormap,
            scale="image" if asked.scale is None else asked.scale,
        )
        for view in settings.views:
            if view not in VIEWS:
                raise UsageError(f"no view is called {view!r}; use {', '.join(VIEWS)}")
        load_palette(settings.colormap)
        engine.attribution(asked, task.show)  # what cannot be answered leaves no folder
        seeds, source = engine.seeds(asked.seed), engine.source(asked.image)
        folder = new_folder(self.session.out)
        output = [word for view in settings.views for word in ("--view", view)]
        output += [
            word
            for name, value in (
                ("--clip", None if clip == CLIP else clip),
                ("--colormap", asked.colormap),
                ("--scale", asked.scale),
                ("-o", folder),
            )
            if value is not None
            for word in (name, str(value))
        ]
        words = words_for(self.session, asked, output)
        model = engine.form(settings.boxes is not None)
        for each in self._engines:
            each.forget_pass()
        save(Job(model, [source], engine.preprocess, seeds, settings, command=words), folder)
        return {"folder": str(folder), "command": command_text(words)}

    def ask(self, question: Question, task: Task) -> bytes:
        """Answer what a place of the output looks at, or what reacts to one of the input."""
        engine = self.engine(question.model)
        if question.reacts is not None:
            reaction = engine.reaction(question.image, question.reacts)
            plane = Plane("reaction", reaction.values, reaction.size, reaction.window)
            header = {**self._place(question), "seed": question.seed, "command": None}
            return PackedAnswer({**header, "milliseconds": _milliseconds(task)}, [plane]).body()
        found = engine.attribution(question, task.show)
        array = found.colour_array
        height, width = array.shape[1:]
        x0, y0, x1, y1 = window = _window(array, found.within or (0, 0, width, height))
        plane = Plane(found.method.writes, array[:, y0:y1, x0:x1], (width, height), window)
        if found.within is not None:  # statistics of an image that is 0 elsewhere
            found = replace(found, array=found.array[:, y0:y1, x0:x1])
        return PackedAnswer(
            {
                **self._place(question),
                "seed": found.seed,
                "method": found.method.name,
                "score": found.score,
                "class": None if found.answer is None else asdict(found.answer),
                "detection": None if found.detection is None else asdict(found.detection),
                "layer": found.layer,
                "completeness": found.completeness,
                "conservation": found.conservation,
                "tiles": found.tiles,
                "parts": found.parts,
                "shape": list(array.shape),
                "warnings": list(found.warnings),
                "command": command_for(self.session, question),
                "milliseconds": _milliseconds(task),
            },
            [plane],
        ).body()


def _planes(found: ModelOutput, asked: Channel) -> tuple[Channel, list[Plane]]:
    """Choose the channel of a map that is shown, and the planes that show it."""
    if found.planes is None:
        return None, []
    channels, height, width = found.planes.shape
    channel = asked
    if channel is None or (channel != WINNING and channel >= channels):
        channel = WINNING if channels > FEW_CHANNELS else 0
    if channel == WINNING:
        values, winner = found.planes.max(0, keepdim=True)
        shown = {"output": values.numpy(), "winner": winner.numpy().astype(np.float32)}
    else:
        shown = {"output": found.planes[channel : channel + 1].numpy()}
    whole = (0, 0, width, height)
    return channel, [Plane(name, each, (width, height), whole) for name, each in shown.items()]


def _window(array: Floats, within: Box) -> Box:
    """Find the smallest box in a box of an array [C, h, w] that holds all that is not 0 there."""
    x0, y0, x1, y1 = within
    marked = (array[:, y0:y1, x0:x1] != 0).any(0)
    columns, rows = x0 + np.flatnonzero(marked.any(0)), y0 + np.flatnonzero(marked.any(1))
    if not len(columns):
        return x0, y0, x0 + 1, y0 + 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _milliseconds(task: Task) -> dict[str, float]:
    begun = task.begun or task.asked
    return {
        "waited": round(1e3 * (begun - task.asked), 2),
        "computed": round(1e3 * (monotonic() - begun), 2),
    }
