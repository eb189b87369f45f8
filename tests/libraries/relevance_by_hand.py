"""Relevance by the formulas of the papers, written out for two architectures.

Each function returns the relevance of its input and what biases absorb. Nothing of gradviz is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6


def over(relevance: Tensor, z: Tensor) -> Tensor:
    return relevance / (z + EPSILON * torch.where(z < 0, -1.0, 1.0))


def epsilon(a: Tensor, layer: nn.Linear, relevance: Tensor) -> tuple[Tensor, float]:
    s = over(relevance, a @ layer.weight.T + layer.bias)
    return a * (s @ layer.weight), float((layer.bias * s).sum())


def z_plus(a: Tensor, conv: Any, norm: Any, relevance: Tensor) -> tuple[Tensor, float]:
    """A convolution and the batch norm behind it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    w, b = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    up = a.clamp(min=0).requires_grad_(), w.clamp(min=0)
    down = a.clamp(max=0).requires_grad_(), w.clamp(max=0)
    with torch.enable_grad():
        z = sum(
            F.conv2d(x, v, None, conv.stride, conv.padding, 1, conv.groups) for x, v in (up, down)
        )
        z = z + b.clamp(min=0)[:, None, None]
        s = over(relevance, z).detach()
        g = torch.autograd.grad(z, [up[0], down[0]], s)
    shares = up[0] * g[0] + down[0] * g[1]
    return shares.detach(), float((b.clamp(min=0)[:, None, None] * s).sum())


def flat(a: Tensor, conv: Any, relevance: Tensor) -> Tensor:
    x = torch.ones_like(a).requires_grad_()
    with torch.enable_grad():
        z = F.conv2d(x, torch.ones_like(conv.weight), None, conv.stride, conv.padding)
        (g,) = torch.autograd.grad(z, x, over(relevance, z).detach())
    return g


def mobilenet(net: Any, x: Tensor, k: int) -> tuple[Tensor, float]:
    """torchvision's MobileNetV2."""
    absorbed = 0.0

    def back(layers: list[nn.Module], a: Tensor, relevance: Tensor) -> Tensor:
        """Convolution, batch norm and ReLU6 in turn, from the last to the first."""
        nonlocal absorbed
        values = [a]
        for layer in layers:
            values.append(layer(values[-1]))
        for n in reversed(range(len(layers))):
            if isinstance(layers[n], nn.Conv2d):
                relevance, b = z_plus(values[n], layers[n], layers[n + 1], relevance)
                absorbed += b
        return relevance

    blocks = list(net.features)
    values = [x]
    for block in blocks:
        values.append(block(values[-1]))
    mean = values[-1].mean((2, 3))
    r, b = epsilon(mean, net.classifier[1], F.one_hot(torch.tensor([k]), 10) * net(x))
    absorbed += b
    r = values[-1] * over(r, mean)[..., None, None] / values[-1][0, 0].numel()
    for block, a in zip(blocks[:0:-1], values[-2:0:-1], strict=True):
        layers = [m for m in block.modules() if not list(m.children())]
        if getattr(block, "use_res_connect", False):
            y = block.conv(a)
            r = a * over(r, a + y) + back(layers, a, y * over(r, a + y))
        else:
            r = back(layers, a, r)
    return flat(x, blocks[0][0], r), absorbed


def layer_norm(a: Tensor, norm: nn.LayerNorm, relevance: Tensor) -> tuple[Tensor, float]:
    """The deviation is a constant: a sum of the inputs minus their mean is left."""
    deviation = (a.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    centre = torch.eye(a.shape[-1]).to(a) - 1 / a.shape[-1]
    matrix = norm.weight[:, None] * centre
    z = a @ matrix.T / deviation + norm.bias
    s = over(relevance, z)
    return a * (s @ matrix) / deviation, float((norm.bias * s).sum())


def attention(block: Any, a: Tensor, relevance: Tensor) -> tuple[Tensor, float, float]:
    """Self-attention of one image [1, L, C]; also what the softmax absorbs."""
    length, heads = a.shape[1], block.num_heads
    q, k, v = block.qkv(a)[0].view(length, 3, heads, -1).permute(1, 2, 0, 3)
    q = q * block.scale
    scores = torch.einsum("hid,hjd->hij", q, k)
    weights = scores.softmax(-1)
    out = torch.einsum("hij,hjd->hid", weights, v)
    joined = out.transpose(0, 1).reshape(1, length, -1)
    r, bias = epsilon(joined, block.proj, relevance)
    r = r.view(length, heads, -1).transpose(0, 1)

    s = over(r, out) / 2
    of_weights = torch.einsum("hij,hjd,hid->hij", weights, v, s)
    of_v = torch.einsum("hij,hjd,hid->hjd", weights, v, s)
    of_scores = scores * (of_weights - weights * of_weights.sum(-1, keepdim=True))
    s = over(of_scores, scores) / 2
    of_q = torch.einsum("hid,hjd,hij->hid", q, k, s)
    of_k = torch.einsum("hid,hjd,hij->hjd", q, k, s)
    r = torch.stack([of_q, of_k, of_v]).permute(2, 0, 1, 3).reshape(1, length, -1)
    r, more = epsilon(a, block.qkv, r)
    return r, bias + more, float((of_weights - of_scores).sum())


def vit(net: Any, x: Tensor, k: int) -> tuple[Tensor, dict[str, float]]:
    """timm's VisionTransformer with a class token."""
    absorbed = {"biases": 0.0, "constants": 0.0, "softmax": 0.0}

    def keep(found: tuple[Tensor, float]) -> Tensor:
        absorbed["biases"] += found[1]
        return found[0]

    patches = net.patch_embed(x)
    tokens = torch.cat([net.cls_token, patches], 1)
    values = [tokens + net.pos_embed]
    for block in net.blocks:
        middle = values[-1] + block.attn(block.norm1(values[-1]))
        values += [middle, middle + block.mlp(block.norm2(middle))]
    seen = net.norm(values[-1])
    r = torch.zeros_like(seen)
    r[:, 0] = keep(epsilon(seen[:, 0], net.head, F.one_hot(torch.tensor([k]), 10) * net(x)))
    r = keep(layer_norm(values[-1], net.norm, r))
    for n, block in reversed([*enumerate(net.blocks)]):
        before, middle, after = values[2 * n : 2 * n + 3]
        s, given = over(r, after), block.norm2(middle)
        hidden = block.mlp.act(block.mlp.fc1(given))
        inner = keep(epsilon(hidden, block.mlp.fc2, (after - middle) * s))
        inner = keep(epsilon(given, block.mlp.fc1, inner))
        r = middle * s + keep(layer_norm(middle, block.norm2, inner))
        s, given = over(r, middle), block.norm1(before)
        inner, bias, softmax = attention(block.attn, given, (middle - before) * s)
        absorbed["biases"] += bias
        absorbed["softmax"] += softmax
        r = before * s + keep(layer_norm(before, block.norm1, inner))
    s = over(r, values[0])
    absorbed["constants"] += float((net.pos_embed * s).sum() + (net.cls_token * s[:, :1]).sum())
    r = (patches * s[:, 1:]).transpose(1, 2).unflatten(2, net.patch_embed.grid_size)
    return flat(x, net.patch_embed.proj, r), absorbed
