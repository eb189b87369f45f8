"""A canary in every place where a file may be unpickled: it stays silent without `--trust`."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import Result

from tests.helpers import victim

Fails = Callable[..., str]

SUNG = "sung"


class Canary:
    """Makes the folder `sung` when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (SUNG,)


def saved(value: object, **options: Any) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def replaced(path: Path, change: Callable[[str, bytes], bytes]) -> bytes:
    """The zip file at `path` with other content in its members."""
    buffer = BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def in_member(kind: str, end: str, content: Callable[[], bytes]) -> Callable[[Path], bytes]:
    """A healthy file whose member that ends in `end` is `content`."""

    def make(healthy: Path) -> bytes:
        met = []

        def change(name: str, old: bytes) -> bytes:
            met.append(name.endswith(end))
            return content() if met[-1] else old

        whole = replaced(healthy / kind, change)
        assert any(met)
        return whole

    return make


def pickled_payload(kind: str, place: str, name: str) -> Callable[[Path], bytes]:
    """An exported program whose first payload of `place` is said to be pickled, and is."""

    def make(healthy: Path) -> bytes:
        def change(member: str, old: bytes) -> bytes:
            if member.endswith(f"{place}/model_{place}_config.json"):
                first = {"path_name": name, "is_param": True, "use_pickle": True}
                return json.dumps(
                    {"config": {"first.weight": first | {"tensor_meta": None}}}
                ).encode()
            return old

        whole = BytesIO(replaced(healthy / kind, change))
        with zipfile.ZipFile(whole, "a") as archive:
            bare = pickle.dumps(Canary()) if name.startswith("opaque") else saved(Canary())
            archive.writestr(f"program/data/{place}/{name}", bare)
        return whole.getvalue()

    return make


def old_program(member: str) -> Callable[[Path], bytes]:
    """A `.pt2` file of the first layout."""

    def make(_: Path) -> bytes:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("version", "8.8")
            archive.writestr("serialized_exported_program.json", "{}")
            archive.writestr(member, saved(Canary()))
        return buffer.getvalue()

    return make


def whole_module(_: Path) -> bytes:
    module: Any = nn.Sequential(nn.Conv2d(3, 2, 1))
    module.canary = Canary()
    return saved(module)


STATE = {"first.weight": torch.ones(1)}
PLANTED: dict[str, tuple[str, Callable[[Path], bytes], int]] = {
    "weights": ("m.pt", lambda _: saved({"state_dict": STATE, "more": Canary()}), 5),
    "weights, protocol 4": (
        "m.pt",
        lambda _: saved({"state_dict": STATE, "more": Canary()}, pickle_protocol=4),
        5,
    ),
    "weights, legacy": (
        "m.pth",
        lambda _: saved({**STATE, "more": Canary()}, _use_new_zipfile_serialization=False),
        5,
    ),
    "a key of the weights": ("m.pt", lambda _: saved({Canary(): torch.ones(1)}), 5),
    "Lightning's hyper-parameters": (
        "m.ckpt",
        lambda _: saved(
            {
                "pytorch-lightning_version": "2.4.0",
                "state_dict": STATE,
                "hyper_parameters": {"optimizer": Canary()},
            }
        ),
        5,
    ),
    "Lightning's callbacks": (
        "m.ckpt",
        lambda _: saved({"state_dict": STATE, "callbacks": {"ModelCheckpoint": Canary()}}),
        5,
    ),
    "a pickled module": ("m.pt", whole_module, 5),
    "a bare pickle": ("m.pkl", lambda _: pickle.dumps(Canary()), 3),
    "a bare pickle of protocol 0": ("m.pt", lambda _: pickle.dumps(Canary(), 0), 3),
    "a program's sample inputs": (
        "m.pt2",
        in_member("program.pt2", "sample_inputs/model.pt", lambda: saved(((Canary(),), {}))),
        5,
    ),
    "a program's weights": ("m.pt2", pickled_payload("program.pt2", "weights", "weight_9"), 5),
    "a program's constants": (
        "m.pt2",
        pickled_payload("program.pt2", "constants", "tensor_9"),
        5,
    ),
    "a program's opaque objects": (
        "m.pt2",
        pickled_payload("program.pt2", "constants", "opaque_obj_9"),
        5,
    ),
    "an old program's weights": ("m.pt2", old_program("serialized_state_dict.pt"), 5),
    "an old program's constants": ("m.pt2", old_program("serialized_constants.pt"), 5),
    "an old program's inputs": ("m.pt2", old_program("serialized_example_inputs.pt"), 5),
    "TorchScript's attributes": (
        "m.ts",
        in_member("scripted.ts", "/data.pkl", lambda: pickle.dumps(Canary(), 2)),
        3,
    ),
    "TorchScript's constants": (
        "m.ts",
        in_member("frozen.ts", "/constants.pkl", lambda: pickle.dumps((Canary(),), 2)),
        3,
    ),
}
"""Under what name, how it is made, and the exit code without trust."""


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("place", PLANTED)
def test_a_model_with_a_canary(place: str, healthy: Path, fails: Fails, tmp_path: Path) -> None:
    name, make, code = PLANTED[place]
    (tmp_path / name).write_bytes(make(healthy))
    options = victim.ARCH if name.endswith((".pt", ".pth", ".ckpt")) else ()
    said = fails(code, name, healthy / "photo.png", *options)
    if code == 5:
        assert "--trust" in said and f"{os.mkdir.__module__}.mkdir" in said
    assert not Path(SUNG).exists()


TRUSTED = [
    place
    for place, (*_, code) in PLANTED.items()
    if code == 5 and "old program" not in place  # of which nothing but the canary is there
]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.filterwarnings("ignore:This version of file is deprecated:UserWarning")
@pytest.mark.parametrize("place", TRUSTED)
def test_the_canary_can_sing(
    place: str, healthy: Path, saliency: Callable[..., Result], tmp_path: Path
) -> None:
    """With trust it is unpickled: the tests above can fail."""
    name, make, _ = PLANTED[place]
    (tmp_path / name).write_bytes(make(healthy))
    options = victim.ARCH if name.endswith((".pt", ".pth", ".ckpt")) else ()
    saliency(name, healthy / "photo.png", *options, "--trust")
    assert Path(SUNG).is_dir()


def object_array() -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.array([Canary()]), allow_pickle=True)
    return buffer.getvalue()


ARRAYS: dict[str, Callable[[], bytes]] = {
    "a.pt": lambda: saved([torch.ones(3, 4, 5), Canary()]),
    "a.pth": lambda: saved(Canary(), _use_new_zipfile_serialization=False),
    "a.npy": object_array,
}
"""Files of one array that hold a canary."""

USES: dict[str, Callable[[Path, str], list[str | Path]]] = {
    "image": lambda healthy, array: [array],
    "mask": lambda healthy, array: [healthy / "photo.png", "--seed", f"mask:{array}"],
    "tensor": lambda healthy, array: [healthy / "photo.png", "--seed", f"tensor:{array}"],
    "loss": lambda healthy, array: [healthy / "photo.png", "--seed", f"loss:mse={array}"],
    "baseline": lambda healthy, array: [
        healthy / "photo.png",
        *("--method", "integrated-gradients", "--baseline", array),
    ],
    "inside": lambda healthy, array: [healthy / "photo.png", "--inside", array],
}
"""What an array may be given as."""


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("trust", [[], ["--trust"]])
def test_an_array_with_a_canary(
    array: str, use: str, trust: list[str], healthy: Path, fails: Fails
) -> None:
    """Even with trust, which is for the model."""
    Path(array).write_bytes(ARRAYS[array]())
    fails(2, healthy / "scripted.ts", *USES[use](healthy, array), *trust)
    assert not Path(SUNG).exists()
