"""The share of a run's batches that one process of several computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gradviz.errors import UsageError

_Batch = TypeVar("_Batch")

MOST_SHARDS = 4096
"""The most shards of one run."""


@dataclass(frozen=True)
class Shard:
    """Every `count`-th batch, beginning with the one at `index` (from 1)."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """The shard in the name of its results file."""
        return f"{self.index}-of-{self.count}"

    def of(self, batches: Sequence[_Batch]) -> Sequence[_Batch]:
        """Select the batches of this shard.

        They are whole batches, since numbers depend on the batch. Together, the shards have all of
        them.
        """
        return batches[self.index - 1 :: self.count]


def shard_from(text: str) -> Shard:
    """Parse `I/N`, I from 1.

    Raises:
        UsageError: it is not such a share.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    shard = Shard(*map(int, found.groups())) if found else Shard(0, 0)
    if not 1 <= shard.index <= shard.count <= MOST_SHARDS:
        raise UsageError(f"--shard {text}: write it as I/N, such as 2/4, N at most {MOST_SHARDS}")
    return shard


def shard_here(text: str | None, environment: Mapping[str, str]) -> Shard | None:
    """Find this process's share: that of `--shard`, or of its rank under torchrun; None for all.

    Args:
        text: the text of `--shard`, if it was given.
        environment: the variables of the process, in which torchrun sets the rank.

    Raises:
        UsageError: they contradict each other, or one of them cannot be read.
    """
    rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None or world is None:
        return None if text is None else shard_from(text)
    if text is not None:
        raise UsageError(f"--shard {text}: torchrun shares the work out already; leave it out")
    try:
        shard = shard_from(f"{int(rank) + 1}/{world}")
    except (ValueError, UsageError):
        raise UsageError(
            f"RANK={rank} WORLD_SIZE={world}: not a rank of torchrun's; unset them"
        ) from None
    return None if shard.count == 1 else shard
