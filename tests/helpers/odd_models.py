"""Models whose code does what no model should, each the name of a factory; see test_odd_code.py."""

# mypy: ignore-errors
# ruff: noqa
from functools import reduce

import torch
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))


def make(f, name):
    def forward(self, x):
        return f(self, x)

    cls = type(name, (Base,), {"forward": forward})
    globals()[name] = cls
    return cls


class Sub(torch.Tensor):
    pass


class Weird(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise ValueError("no")


class MuteBase(BaseException):
    def __str__(self):
        raise ValueError("no")


class Lying(dict):
    def items(self):
        raise RuntimeError("no items")


def _raise(e):
    raise e


F = {
    "float8": lambda s, x: (x * s.w).to(torch.float8_e4m3fn),
    "float8b": lambda s, x: (x * s.w).to(torch.float8_e5m2),
    "sparse": lambda s, x: (x * s.w).to_sparse(),
    "csr": lambda s, x: (x * s.w)[0, 0].to_sparse_csr(),
    "nested": lambda s, x: torch.nested.as_nested_tensor([x[0] * s.w, x[0, :, :2] * s.w]),
    "nestedj": lambda s, x: torch.nested.as_nested_tensor(
        [x[0] * s.w, x[0, :, :2] * s.w], layout=torch.jagged
    ),
    "meta": lambda s, x: (x * s.w).to("meta"),
    "subclass": lambda s, x: (x * s.w).as_subclass(Sub),
    "base": lambda s, x: _raise(Weird("weird")),
    "mute": lambda s, x: _raise(Mute()),
    "mutebase": lambda s, x: _raise(MuteBase()),
    "exit": lambda s, x: _raise(SystemExit(7)),
    "genexit": lambda s, x: _raise(GeneratorExit()),
    "stopit": lambda s, x: _raise(StopIteration()),
    "big": lambda s, x: _raise(RuntimeError("A" * 5_000_000)),
    "none": lambda s, x: None,
    "lying": lambda s, x: Lying(a=x * s.w),
    "complex_": lambda s, x: torch.complex(x * s.w, x),
    "quant": lambda s, x: torch.quantize_per_tensor(x.detach(), 0.1, 0, torch.quint8),
    "empty": lambda s, x: (x * s.w)[:, :0],
    "empty2": lambda s, x: (x * s.w)[:, :, :0],
    "scalar": lambda s, x: (x * s.w).sum(),
    "strs": lambda s, x: "text",
    "recur": lambda s, x: s(x),
    "selfref": lambda s, x: (lambda l: (l.append(l), l)[1])([x * s.w]),
    "deep": lambda s, x: reduce(lambda a, _: [a], range(3000), x * s.w),
    "shared": lambda s, x: reduce(lambda a, _: [a, a], range(40), x * s.w),
    "sharedd": lambda s, x: reduce(lambda a, _: {"a": a, "b": a}, range(40), x * s.w),
    "bf16": lambda s, x: (x * s.w).bfloat16(),
    "half": lambda s, x: (x * s.w).half(),
    "dbl": lambda s, x: (x * s.w).double(),
    "inplace": lambda s, x: x.mul_(s.w),
    "expand": lambda s, x: (s.w * x.sum()).expand(1, 10),
    "grad_off": lambda s, x: _off(s, x),
    "setdef": lambda s, x: _setdef(s, x),
    "threads": lambda s, x: (torch.set_num_threads(1), x * s.w)[1],
    "nan": lambda s, x: x * s.w * float("nan"),
    "inf": lambda s, x: x * s.w * float("inf"),
    "huge": lambda s, x: torch.ones(10**14) * s.w,
    "mem": lambda s, x: _raise(MemoryError()),
    "generator": lambda s, x: (y for y in [x * s.w]),
    "setout": lambda s, x: {x * s.w},
    "dim65": lambda s, x: (x * s.w).reshape(1, *([1] * 60), -1),
    "conj": lambda s, x: torch.view_as_real(torch.conj(torch.complex(x, x) * s.w)),
    "future": lambda s, x: torch.futures.Future(),
    "kbd": lambda s, x: _raise(KeyboardInterrupt()),
}


def _off(s, x):
    torch.set_grad_enabled(False)
    return x * s.w


def _setdef(s, x):
    torch.set_default_dtype(torch.float64)
    return x * s.w


for n, f in F.items():
    make(f, n)


class badgetattr(Base):
    def __getattr__(self, n):
        if n in ("w",):
            return super().__getattr__(n)
        raise RuntimeError("no " + n)

    def forward(self, x):
        return x * self.w


class lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.LazyConv2d(2, 1)
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.c(x) * self.w


class lazylin(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.l = nn.LazyLinear(3)
        self.b = nn.LazyBatchNorm2d()

    def forward(self, x):
        return self.l(self.b(x).flatten(1)) * self.w


class badstate(Base):
    def state_dict(self, *a, **k):
        raise Weird("x")

    def forward(self, x):
        return x * self.w


class badmods(Base):
    def modules(self):
        raise Weird("x")

    def forward(self, x):
        return x * self.w


class badeval(Base):
    def eval(self):
        raise Mute()

    def forward(self, x):
        return x * self.w


class badto(Base):
    def to(self, *a, **k):
        return None

    def forward(self, x):
        return x * self.w


class badname(Base):
    def forward(self, x):
        return x * self.w


badname.__name__ = "\x1b[31mred"


class badcopy(Base):
    def __deepcopy__(self, m):
        raise Weird("x")

    def forward(self, x):
        return x * self.w


class metaw(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.m = nn.Conv2d(3, 3, 1, device="meta")

    def forward(self, x):
        return self.m(x) * self.w


class metab(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.ones(1, device="meta"), persistent=False)

    def forward(self, x):
        return x * self.w * self.b


class sparsew(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.eye(3).to_sparse(), persistent=False)

    def forward(self, x):
        return x * self.w


class nestedb(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer(
            "b", torch.nested.as_nested_tensor([torch.ones(1), torch.ones(2)]), persistent=False
        )

    def forward(self, x):
        return x * self.w


class quantb(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer(
            "b", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), persistent=False
        )

    def forward(self, x):
        return x * self.w


class f8b(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.ones(2).to(torch.float8_e4m3fn), persistent=False)

    def forward(self, x):
        return x * self.w


class bwexit(Base):
    def forward(self, x):
        y = x * self.w
        y.register_hook(lambda g: _raise(Weird("bw")))
        return y


class bwmute(Base):
    def forward(self, x):
        y = x * self.w
        y.register_hook(lambda g: _raise(Mute()))
        return y


NAMES = [
    n
    for n, c in list(globals().items())
    if isinstance(c, type) and issubclass(c, nn.Module) and c not in (nn.Module, Base)
]
