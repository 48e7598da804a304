"""What depends on a batch as a whole, and so may not be computed from a part of it."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class BatchStatistics(nn.Module):
    """A module that takes statistics of the batch in training: it refuses several processes and microbatches.

    A process or a microbatch has a part of the batch, and statistics of parts do not add up to the whole's. A recipe
    that would share batches is refused before training, and told what to write `instead`. torch's batch normalisation
    is known without this base.
    """

    instead: ClassVar[str] = ""
