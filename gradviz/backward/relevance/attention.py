"""The rule of relevance for attention that runs as one operation.

It is written out: two products, between them a mask and a softmax, each with its own rule.

Source: Achtibat et al. 2024, arXiv:2402.05602
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradviz.backward.relevance.elementary import softmax_shares
from gradviz.backward.relevance.operation import (
    Operation,
    Shares,
    divided,
    lost_to_epsilon,
    times,
    total,
)


def attention(operation: Operation, relevance: Tensor) -> Shares:
    """Hand relevance back to query, key and value."""
    call = operation.values
    query, key, value = (call[name] for name in ("query", "key", "value"))
    groups = query.shape[-3] // key.shape[-3]
    key, value = (each.repeat_interleave(groups, -3) for each in (key, value))
    scale = call.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    plain = query @ key.mT * scale
    mask = _mask(operation, plain)
    scores = plain if mask is None else plain + mask
    weights = torch.softmax(scores, -1)
    z = weights @ value

    quotient = divided(relevance, z)
    of_weights = weights * (quotient @ value.mT) / 2
    of_value = value * (weights.mT @ quotient) / 2
    epsilon = lost_to_epsilon(relevance, z, quotient)

    of_scores = softmax_shares(scores, weights, of_weights, -1)
    softmax = total(of_weights) - total(of_scores)

    of_plain, constants = of_scores, total(of_scores) * 0
    if mask is not None:
        quotient = divided(of_scores, scores)
        of_plain = times(plain, quotient)
        lost = lost_to_epsilon(of_scores, scores, quotient)
        epsilon, constants = epsilon + lost, total(of_scores) - lost - total(of_plain)

    quotient = divided(of_plain, plain)
    of_query = query * (quotient @ key) * scale / 2
    of_key = key * (quotient.mT @ query) * scale / 2
    epsilon = epsilon + lost_to_epsilon(of_plain, plain, quotient)

    of_key, of_value = (each.unflatten(-3, (-1, groups)).sum(-3) for each in (of_key, of_value))
    return Shares(
        {0: of_query, 1: of_key, 2: of_value},
        {"epsilon": epsilon, "constants": constants, "softmax": softmax},
    )


def _mask(operation: Operation, scores: Tensor) -> Tensor | None:
    """Return what is added to the scores."""
    mask: Tensor | None = operation.values.get("attn_mask", "attn_bias")
    if operation.values.get("is_causal"):
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return torch.zeros_like(scores).masked_fill(later, -math.inf)
    if mask is not None and mask.dtype == torch.bool:
        return torch.zeros_like(scores).masked_fill(~mask, -math.inf)
    return mask
