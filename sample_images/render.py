"""Render the sample images: rooms with their exact depth, and simple shapes on a busy ground.

Metres throughout; x points right, y up, z ahead. A ray leaves the camera one metre deep, so the
ray parameter of a hit *is* its z-depth, the distance along the optical axis.

Everything is float64: the last bit of a sine differs between processors, and rounding to 8 bits
makes that disappear.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Paint = Callable[[Floats, Floats], Floats]  # surface coordinates in metres -> colours [3, N]

FOCAL = 0.9  # in units of the image's shorter side, so a resized room keeps its perspective
GRAZE = 1e-4  # a shadow ray starts this far off its surface
FINE = 4  # rays a pixel, in each direction, of the pictures meant for eyes
HAZE = 0.05  # share of the light lost per metre, about
SUN = np.array([[1.0], [0.93], [0.82]])  # the lamp's tint
SKY = np.array([[0.36], [0.42], [0.5]])  # of the light that comes from everywhere, and of the haze
LABELS = ("circle", "square", "triangle", "star")


@dataclass(frozen=True)
class Room:
    rgb: Bytes  # [H, W, 3]
    depth: NDArray[np.float32]  # [H, W], z-depth in metres through the pixels' centres


@dataclass(frozen=True)
class Shapes:
    rgb: Bytes  # [S, S, 3]
    label: int  # of the first shape, an index into LABELS
    mask: Bytes  # [S, S]: 0 on the ground, 1 + label on a shape


# Paint


def colour(rng: Generator, hue: float, saturation: float, value: float) -> Floats:
    """About this colour, [3, 1], in linear light."""
    hue, saturation, value = np.array([hue, saturation, value]) + rng.uniform(-0.04, 0.04, 3)
    rgb = colorsys.hsv_to_rgb(hue % 1, max(saturation, 0), min(value, 1))
    return np.array(rgb)[:, None] ** 2.2


def plain(tone: Floats) -> Paint:
    return lambda a, b: tone * (1 + 0.04 * np.sin(9 * a + 3 * np.sin(5 * b)))


def checker(size: float, one: Floats, two: Floats) -> Paint:
    return lambda a, b: np.where((np.floor(a / size) + np.floor(b / size)) % 2 > 0, one, two)


def stripes(size: float, one: Floats, two: Floats) -> Paint:
    return lambda a, b: np.where(a / size % 1 > 0.5, one, two)


def rows(length: float, width: float, seam: float, tone: Floats) -> Paint:
    """Bricks, or planks: each row is shifted, each piece has a shade and a grain of its own."""

    def paint(a: Floats, b: Floats) -> Floats:
        row = np.floor(b / width)
        along = a / length + 0.37 * row
        piece = np.floor(along)
        shade = 0.8 + 0.4 * (np.sin(12.9 * row + 78.2 * piece) * 437.5 % 1)
        grain = 1 + 0.06 * np.sin(90 * b + 4 * np.sin(3 * a + piece))
        edge = np.minimum(along % 1 * length, b % width) < seam
        return np.where(edge, 0.35, shade * grain) * tone

    return paint


def tiles(size: float, seam: float, tone: Floats) -> Paint:
    def paint(a: Floats, b: Floats) -> Floats:
        column, row = np.floor(a / size), np.floor(b / size)
        shade = 0.85 + 0.3 * (np.sin(31.7 * column + 17.3 * row) * 91 % 1)
        return tone * shade * np.where(np.minimum(a % size, b % size) < seam, 0.4, 1)

    return paint


def hills(sky: Floats, grass: Floats) -> Paint:
    return lambda a, b: np.where(b < 0.08 * np.sin(11 * a) + 0.03 * np.sin(29 * a), grass, sky)


def framed(width: float, height: float, edge: float, tone: Floats, inner: Paint) -> Paint:
    """A panel [-width, width] x [-height, height] with a border of another colour."""

    def paint(a: Floats, b: Floats) -> Floats:
        inside = (np.abs(a) < width - edge) & (np.abs(b) < height - edge)
        return np.where(inside, inner(a, b), tone)

    return paint


def wall(ground: Paint, board: Floats, picture: Paint, spacing: float) -> Paint:
    """A wall with a skirting board at the floor and pictures hung at eye height."""

    def paint(a: Floats, b: Floats) -> Floats:
        across, up = (a + spacing / 2) % spacing - spacing / 2, b - 1.6
        hung = (np.abs(across) < 0.45) & (np.abs(up) < 0.33)
        return np.where(b < 0.12, board, np.where(hung, picture(across, up), ground(a, b)))

    return paint


# Solids


class Solid(Protocol):
    def hit(self, origin: Floats, ray: Floats) -> Floats:
        """The ray parameter of the first hit, inf for a miss: [3, N] -> [N]."""

    def surface(self, point: Floats) -> tuple[Floats, Floats]:
        """The outward normal and the colour there, both [3, N]."""


def slabs(origin: Floats, ray: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Where rays enter and leave the box [-half, half]."""
    ray = np.where(ray == 0, 1e-12, ray)  # along a face: enters long ago and leaves never
    middle, reach = -origin / ray, np.abs(half / ray)
    return (middle - reach).max(0), (middle + reach).min(0)


def facing(point: Floats, half: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The axis of the box face that holds each point, and the face's outward normal."""
    axis = np.abs(point / half).argmax(0)
    normal = np.where(np.arange(3)[:, None] == axis, np.sign(point), 0.0)
    return axis, normal


def rotate(vector: Floats, turn: float) -> Floats:
    """About the vertical."""
    x, y, z = vector
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([cos * x - sin * z, y, sin * x + cos * z])


@dataclass(frozen=True)
class Hall:
    """The room itself, a box seen from inside; its floor is y = 0."""

    centre: Floats
    half: Floats
    floor: Paint
    ceiling: Paint
    side: Paint
    back: Paint

    def hit(self, origin: Floats, ray: Floats) -> Floats:
        return slabs(origin - self.centre, ray, self.half)[1]

    def surface(self, point: Floats) -> tuple[Floats, Floats]:
        local = point - self.centre
        axis, normal = facing(local, self.half)
        x, y, z = point
        tint = np.select(
            [axis == 0, axis == 2, local[1] < 0],
            [self.side(z, y), self.back(x, y), self.floor(z, x)],
            self.ceiling(z, x),
        )
        corner = np.sort(self.half - np.abs(local), axis=0)[1]  # little light finds the corners
        return -normal, tint * (1 - 0.45 * np.exp(-corner / 0.25))


@dataclass(frozen=True)
class Crate:
    centre: Floats
    half: Floats
    turn: float
    paint: Paint

    def hit(self, origin: Floats, ray: Floats) -> Floats:
        start = rotate(origin - self.centre, self.turn)
        enter, leave = slabs(start, rotate(ray, self.turn), self.half)
        return np.where((enter < leave) & (enter > 0), enter, np.inf)

    def surface(self, point: Floats) -> tuple[Floats, Floats]:
        local = rotate(point - self.centre, self.turn)
        axis, normal = facing(local, self.half)
        x, y, z = local
        across, up = np.where(axis == 0, z, x), np.where(axis == 1, z, y)
        return rotate(normal, -self.turn), self.paint(across, up)


@dataclass(frozen=True)
class Ball:
    centre: Floats
    radius: float
    paint: Paint

    def hit(self, origin: Floats, ray: Floats) -> Floats:
        offset = origin - self.centre
        a, b, c = (ray * ray).sum(0), (ray * offset).sum(0), (offset * offset).sum(0)
        square = b * b - a * (c - self.radius**2)
        near = (-b - np.sqrt(np.maximum(square, 0))) / a
        return np.where((square > 0) & (near > 0), near, np.inf)

    def surface(self, point: Floats) -> tuple[Floats, Floats]:
        normal = (point - self.centre) / self.radius
        x, y, z = normal
        around, up = np.arctan2(x, -z), np.arcsin(np.clip(y, -1, 1))
        return normal, self.paint(around * self.radius, up * self.radius)


# Camera and light


@dataclass(frozen=True)
class Camera:
    """A pinhole above x = z = 0, in radians turned right by `yaw` and down by `pitch`."""

    height: float
    pitch: float
    yaw: float

    @property
    def origin(self) -> Floats:
        return np.array([[0.0], [self.height], [0.0]])

    def rays(self, width: int, height: int, dx: float = 0.5, dy: float = 0.5) -> Floats:
        """One ray [3, H·W] through the point (dx, dy) of every pixel, each one metre deep."""
        focal = FOCAL * min(width, height)
        across = (np.arange(width) + dx - width / 2) / focal
        up = (height / 2 - np.arange(height) - dy) / focal
        right, up = (grid.ravel() for grid in np.meshgrid(across, up))
        ahead = up * np.sin(self.pitch) + np.cos(self.pitch)
        return np.stack(
            [
                right * np.cos(self.yaw) + ahead * np.sin(self.yaw),
                up * np.cos(self.pitch) - np.sin(self.pitch),
                ahead * np.cos(self.yaw) - right * np.sin(self.yaw),
            ]
        )


@dataclass(frozen=True)
class Scene:
    camera: Camera
    lamp: Floats  # centre [3, 1] of a small square that hangs level
    hall: Hall
    things: tuple[Crate | Ball, ...]


def nearest(
    solids: Sequence[Solid], origin: Floats, ray: Floats
) -> tuple[Floats, NDArray[np.intp]]:
    hits = np.stack([solid.hit(origin, ray) for solid in solids])
    return hits.min(0), hits.argmin(0)


def depth_of(scene: Scene, width: int, height: int) -> NDArray[np.float32]:
    ray = scene.camera.rays(width, height)
    depth, _ = nearest((scene.hall, *scene.things), scene.camera.origin, ray)
    return depth.reshape(height, width).astype(np.float32)


def shade(scene: Scene, ray: Floats, lamp: Floats) -> Floats:
    """Linear light [3, N] along the rays from one point lamp, dimmed by distance and haze."""
    solids = (scene.hall, *scene.things)
    depth, which = nearest(solids, scene.camera.origin, ray)
    point = scene.camera.origin + depth * ray
    normal, tint = np.empty_like(ray), np.empty_like(ray)
    for index, solid in enumerate(solids):
        seen = which == index
        normal[:, seen], tint[:, seen] = solid.surface(point[:, seen])

    to_lamp = lamp - point
    distance = np.sqrt((to_lamp**2).sum(0))
    slope = np.maximum((normal * to_lamp).sum(0) / distance, 0)
    # The hall is convex: only the things in it can stand between a point and the lamp.
    start = point + GRAZE * normal
    clear = np.all([thing.hit(start, to_lamp) > 1 for thing in scene.things], axis=0)
    reach = 3.4 * clear / (1 + (distance / 2.2) ** 2)
    halfway = to_lamp / distance - ray / np.sqrt((ray**2).sum(0))
    shine = np.maximum((normal * halfway).sum(0), 0) / np.sqrt((halfway**2).sum(0))
    light = SKY * (0.45 + 0.15 * normal[1]) + SUN * slope * reach
    glint = 0.12 * SUN * reach * shine**80
    seen_light: Floats = SKY + (tint * light + glint - SKY) * np.exp(-HAZE * depth)
    return seen_light


def radiance(scene: Scene, width: int, height: int, samples: int) -> Floats:
    """Linear light [H, W, 3]: samples² rays a pixel, each lit from its own part of the lamp."""
    parts = (np.arange(samples) + 0.5) / samples
    total = np.zeros((3, width * height))
    for i, dy in enumerate(parts):
        for j, dx in enumerate(parts):
            # Mirrored against the place in the pixel: alike, the two would sharpen some penumbras.
            shift = 0.5 * np.array([[parts[i] - 0.5], [0], [parts[-1 - j] - 0.5]])
            rays = scene.camera.rays(width, height, dx, dy)
            total += shade(scene, rays, scene.lamp + shift)
    return total.T.reshape(height, width, 3) / samples**2


def develop(light: Floats) -> Floats:
    """Linear light to display values in [0, 1]; bright light saturates softly."""
    return (1 - np.exp(-1.35 * np.maximum(light, 0))) ** (1 / 2.2)


def to_bytes(image: Floats) -> Bytes:
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


# Rooms


def choose_thing(rng: Generator, hue: float, x: float, z: float) -> Crate | Ball:
    one = colour(rng, hue, 0.7, 0.85)
    two = colour(rng, hue + rng.choice([0.0, 0.1, 0.5]), 0.35, rng.choice([0.25, 0.9]))
    size = rng.uniform(0.1, 0.25)
    paint = [plain(one), checker(size, one, two), stripes(size, one, two)][rng.integers(3)]
    if rng.random() < 0.5:
        radius = rng.uniform(0.25, 0.55)
        return Ball(np.array([[x], [radius], [z]]), radius, paint)
    width, height, length = rng.uniform([0.2, 0.2, 0.2], [0.45, 0.75, 0.45])
    paint = framed(width, height, 0.06, two, paint) if rng.random() < 0.5 else paint
    half = np.array([[width], [height], [length]])
    return Crate(np.array([[x], [height], [z]]), half, rng.uniform(0, np.pi / 2), paint)


def choose_hall(rng: Generator, hue: float) -> Hall:
    width, height, length = rng.uniform([1.6, 1.25, 1.6], [3.6, 1.45, 7.0])
    wood, stone = colour(rng, 0.08, 0.5, 0.66), colour(rng, hue + 0.5, 0.12, 0.72)
    dark, pale = colour(rng, hue, 0.4, 0.3), colour(rng, hue, 0.08, 0.92)
    tone, soft = colour(rng, hue, 0.28, 0.78), colour(rng, hue, 0.2, 0.88)
    floors = [rows(1.5, 0.25, 0.012, wood), checker(0.5, dark, pale), tiles(0.5, 0.025, stone)]
    walls = [plain(tone), stripes(0.5, tone, soft), rows(0.4, 0.15, 0.012, tone)]
    frame = colour(rng, 0.1, 0.5, 0.3)
    scenery = hills(colour(rng, 0.58, 0.35, 0.9), colour(rng, rng.uniform(0.05, 0.4), 0.6, 0.55))
    picture = framed(0.45, 0.33, 0.05, frame, scenery)
    surround = wall(walls[rng.integers(3)], pale, picture, rng.uniform(1.6, 2.4))
    ahead = rng.uniform(0, 0.3)
    return Hall(
        centre=np.array([[rng.uniform(-0.4, 0.4) * width], [height], [length - 0.5 + ahead]]),
        half=np.array([[width], [height], [length]]),
        floor=floors[rng.integers(3)],
        ceiling=plain(colour(rng, hue, 0.05, 0.93)),
        side=surround,
        back=surround,
    )


def furnish(seed: int) -> Scene:
    """A random room: a person's camera, a hall, and a few things standing clear of each other."""
    rng = np.random.default_rng(seed)
    camera = Camera(rng.uniform(1.45, 1.55), np.radians(rng.uniform(9, 13)), rng.uniform(-0.3, 0.3))
    hue = rng.random()
    hall = choose_hall(rng, hue)
    room_left, room_right = (hall.centre + hall.half * [[-1, 1]])[0]
    end = float((hall.centre + hall.half)[2, 0])

    things: list[Crate | Ball] = []
    wanted = rng.integers(2, 6)
    for _ in range(40):
        away, angle = rng.uniform(1.7, 9), camera.yaw + rng.uniform(-0.5, 0.5)
        x, z = away * np.sin(angle), away * np.cos(angle)
        inside = room_left + 0.7 < x < room_right - 0.7 and z < end - 0.7
        clear = all(np.hypot(*(thing.centre[::2, 0] - [x, z])) > 1.2 for thing in things)
        if inside and clear and len(things) < wanted:
            things.append(choose_thing(rng, hue + rng.uniform(0.25, 0.75), x, z))

    x = rng.uniform(max(room_left, -1.5), min(room_right, 1.5))
    lamp = np.array([[x], [2 * hall.half[1, 0] - 0.3], [rng.uniform(0.25, 0.6) * end]])
    return Scene(camera, lamp, hall, tuple(things))


def render_room(seed: int, width: int, height: int, samples: int = 2) -> Room:
    scene = furnish(seed)
    light = radiance(scene, width, height, samples)
    return Room(to_bytes(develop(light)), depth_of(scene, width, height))


# Shapes


def outline(label: int, x: Floats, y: Floats) -> Floats:
    """Distance to the unit shape's outline, negative inside."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)

    def wedge(corners: int) -> tuple[Floats, Floats]:
        """The point turned and mirrored into the half wedge that makes up the whole shape."""
        sector = 2 * np.pi / corners
        folded = np.abs((angle + sector / 2) % sector - sector / 2)
        return radius * np.cos(folded), radius * np.sin(folded)

    match LABELS[label]:
        case "circle":
            return radius - 0.9
        case "square":
            return wedge(4)[0] - 0.78
        case "triangle":
            return wedge(3)[0] - 0.6
        case _:  # a star's edge runs from a tip at (1.15, 0) to a notch 36 degrees further
            u, v = wedge(5)
            across, along = 0.5 * np.sin(np.pi / 5), 0.5 * np.cos(np.pi / 5) - 1.15
            distance: Floats = (across * (u - 1.15) - along * v) / np.hypot(across, along)
            return distance


def waves(rng: Generator, x: Floats, y: Floats, count: int, fastest: float) -> Floats:
    """A random smooth texture, about -1 to 1: plane waves up to `fastest` radians a pixel."""
    total: Floats = np.zeros_like(x)
    for _ in range(count):
        angle, speed, phase = rng.uniform([0, 0.02, 0], [2 * np.pi, fastest, 2 * np.pi])
        total += np.sin(speed * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    total /= np.sqrt(2 * count)
    return total


def paint_ground(rng: Generator, x: Floats, y: Floats, hue: float, value: float) -> Floats:
    """Waves crossed by random strokes, so that an edge alone says nothing about the shape."""
    size = x.shape[0]
    light = 1 + 0.25 * waves(rng, x, y, 6, 0.5)
    ground = colour(rng, hue, 0.35, value)[..., None] * light
    for _ in range(rng.integers(2, 7)):
        angle = rng.uniform(0, np.pi)
        left, top = rng.uniform(0, size, 2)
        length, width = rng.uniform([0.1, 0.007], [0.33, 0.033]) * size
        u = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
        v = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
        cover = np.clip(0.5 - np.maximum(np.abs(u) - length, np.abs(v) - width), 0, 1)
        ground += cover * (colour(rng, hue + 0.1, 0.5, rng.uniform(0.2, 0.9))[..., None] - ground)
    return ground


@dataclass(frozen=True)
class Stamp:
    """A shape put somewhere on the picture, in pixels."""

    label: int
    left: float
    top: float
    scale: float
    turn: float

    def distance(self, x: Floats, y: Floats) -> Floats:
        """From these points to the shape's outline, negative inside."""
        u, v = (x - self.left) / self.scale, (y - self.top) / self.scale
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return self.scale * outline(self.label, cos * u + sin * v, cos * v - sin * u)


def place(rng: Generator, label: int, size: int, start: float, stop: float) -> Stamp:
    """Anywhere and anyhow between two columns."""
    scale = rng.uniform(0.16 * size, 0.36 * (stop - start))
    edge = 1.2 * scale
    left, top = rng.uniform([start + edge, edge], [stop - edge, size - edge])
    return Stamp(label, left, top, scale, rng.uniform(0, 2 * np.pi))


def compose(rng: Generator, size: int, labels: Sequence[int]) -> Shapes:
    """The given shapes side by side on one ground, each with a shadow."""
    y, x = np.mgrid[:size, :size] + 0.5
    hue, value = rng.random(), rng.uniform(0.35, 0.85)
    image = paint_ground(rng, x, y, hue, value)
    mask = np.zeros((size, size), np.uint8)
    borders = np.linspace(0, size, len(labels) + 1)
    for label, start, stop in zip(labels, borders[:-1], borders[1:], strict=True):
        stamp = place(rng, label, size, start, stop)
        image *= 1 - 0.45 * np.clip(0.5 - stamp.distance(x - 2.5, y - 3.5) / 6, 0, 1)
        contrast = rng.uniform(0.8, 1) if value < 0.6 else rng.uniform(0.25, 0.7)
        tint = colour(rng, hue + rng.uniform(0.3, 0.7), 0.75, contrast)[..., None]
        cover = np.clip(0.5 - stamp.distance(x, y), 0, 1)
        image += cover * (tint * (1 + 0.2 * waves(rng, x, y, 2, 0.9)) - image)
        mask[cover > 0.5] = 1 + label
    angle = rng.uniform(0, 2 * np.pi)
    image *= 1 + 0.3 * ((x / size - 0.5) * np.cos(angle) + (y / size - 0.5) * np.sin(angle))
    noisy = np.clip(image, 0, 1) ** (1 / 2.2) + rng.normal(0, 0.025, image.shape)
    return Shapes(to_bytes(np.moveaxis(noisy, 0, 2)), labels[0], mask)


def render_shapes(seed: int, size: int, count: int = 1) -> Shapes:
    """One random shape, or two different ones."""
    rng = np.random.default_rng(seed)
    return compose(rng, size, rng.permutation(len(LABELS))[:count].tolist())


# The files of this folder

HERE = Path(__file__).parent
ROOMS = {  # stem: seed, width, height
    "room_01": (20_000_001, 128, 128),
    "room_02": (20_000_028, 192, 192),
    "room_03": (20_000_036, 256, 192),
    "room_04": (20_000_038, 160, 160),
    "room_05": (20_000_010, 144, 192),
    "room_06": (20_000_043, 224, 168),
    "room_wide": (20_000_041, 320, 192),
    "room_cutout": (20_000_002, 160, 160),
    "room_gray16": (20_000_014, 160, 160),
    "room_phone": (20_000_049, 240, 180),
}
SHAPES = {  # stem: seed, side, what is in it
    "shapes_01": (20_000_039, 128, ["triangle"]),
    "shapes_02": (20_000_035, 128, ["circle"]),
    "shapes_03": (20_000_003, 96, ["square"]),
    "shapes_04": (20_000_020, 128, ["star", "circle"]),
}


def cutout(room: Room) -> Image.Image:
    """A room that fades away with distance, with magenta hidden where nothing is left of it."""
    alpha = to_bytes((6.0 - room.depth.astype(np.float64)) / 2.5)[..., None]
    rgb = np.where(alpha > 0, room.rgb, np.array([255, 0, 255], np.uint8))
    return Image.fromarray(np.concatenate([rgb, alpha], 2))


def gray16(light: Floats) -> Image.Image:
    """Luminance, stretched over all 16 bits."""
    gray = develop(light @ [0.2126, 0.7152, 0.0722])
    gray = (gray - gray.min()) / np.ptp(gray)
    return Image.fromarray(np.rint(65535 * gray).astype(np.uint16))


def save_turned(upright: Image.Image, path: Path) -> None:
    """As a phone held sideways does: turned pixels, and an EXIF tag that turns them back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=92)


def save_room(stem: str) -> None:
    seed, width, height = ROOMS[stem]
    room = render_room(seed, width, height, FINE)
    np.save(HERE / "depth" / f"{stem}.npy", room.depth)
    match stem:
        case "room_cutout":
            cutout(room).save(HERE / f"{stem}.png")
        case "room_gray16":
            gray16(radiance(furnish(seed), width, height, FINE)).save(HERE / f"{stem}.png")
        case "room_phone":
            save_turned(Image.fromarray(room.rgb), HERE / f"{stem}.jpg")
        case _:
            Image.fromarray(room.rgb).save(HERE / f"{stem}.png")


def draw_shapes(stem: str) -> Shapes:
    seed, side, names = SHAPES[stem]
    return compose(np.random.default_rng(seed), side, [LABELS.index(name) for name in names])


if __name__ == "__main__":
    (HERE / "depth").mkdir(exist_ok=True)
    for stem in ROOMS:
        save_room(stem)
    for stem in SHAPES:
        Image.fromarray(draw_shapes(stem).rgb).save(HERE / f"{stem}.png")
