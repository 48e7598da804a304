"""Encoders and decoders that are told the label, without knowing it: what they see is extended by it.

Legend: B examples, D latent, Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from framework.data import Facts
from framework.errors import OptionError
from framework.learner import Contexts


class Conditioning(nn.Module):
    """q(z|x, y) and p(x|z, y) from an encoder of [x, e(y)] and a decoder of [z, 1(y)].

    1(y) is the label y as one of Y numbers that is 1. It is appended to latents, and to examples that are vectors. An
    image gets one more channel, e(y), a learned plane for each class: a convolution would see nothing in a label that
    stands beside the image.

    Args:
        facts: of the data; its examples have labels.

    Raises:
        OptionError: the data have no labels, or examples that are neither vectors nor images.

    Example:
        >>> condition = Conditioning(Facts((1, 28, 28), 50_000, "binary", classes=10))
        >>> condition.examples(torch.zeros(2, 1, 28, 28), torch.tensor([3, 7])).shape
        torch.Size([2, 2, 28, 28])
        >>> condition.latents(torch.zeros(2, 16), torch.tensor([3, 7])).shape
        torch.Size([2, 26])

    Reference: Sohn, Lee & Yan, "Learning structured output representation using deep conditional generative models",
    2015, https://papers.nips.cc/paper/5775; Kingma, Rezende, Mohamed & Welling, "Semi-supervised learning with deep
    generative models", 2014, whose M2 with all labels known it is, https://arxiv.org/abs/1406.5298.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self.classes = _classes_of(facts)
        shape = facts.input_shape
        self.planes = nn.Embedding(self.classes, shape[1] * shape[2]) if len(shape) == 3 else None

    def examples(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return what the encoder sees of examples.

        Args:
            x: [B, F], or [B, C, H, W].
            labels: [B] int64, 0 … Y - 1.

        Returns:
            [B, F + Y], or [B, C + 1, H, W].
        """
        if self.planes is None:
            return torch.cat([x, one_hot(labels, self.classes).to(x)], dim=1)
        plane: Tensor = self.planes(labels).to(x.dtype)  # [B, H·W]
        return torch.cat([x, plane.view(-1, 1, *x.shape[2:])], dim=1)

    def latents(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return what the decoder sees of latents.

        Args:
            z: [B, D].
            labels: [B] int64, 0 … Y - 1.

        Returns:
            [B, D + Y].
        """
        return torch.cat([z, one_hot(labels, self.classes).to(z)], dim=1)


def contexts(facts: Facts | None, options: Mapping[str, Any]) -> Contexts:
    """Return what a conditional learner's parts are supplied with where it differs; see `ExampleLearner.contexts`.

    The encoder, and a prior that has examples of its own for the encoder, see longer examples, and the decoder longer
    latents. All else is as it is: what the decoder gives is an example, and p(z) is of the latents alone.

    Raises:
        OptionError: the data have no labels, or examples that are neither vectors nor images.
    """
    if facts is None or not options.get("conditional", False):
        return {}
    classes, shape = _classes_of(facts), facts.input_shape
    seen = (shape[0] + classes,) if len(shape) == 1 else (shape[0] + 1, *shape[1:])
    return {
        "encoder": {"input_shape": seen},
        "prior": {"input_shape": seen},
        "decoder": {"latent_dim": options["latent_dim"] + classes},
    }


def _classes_of(facts: Facts) -> int:
    if facts.classes is None:
        found, expected = "true, with data that have no labels", "data with a label for each example, or false"
        raise OptionError("conditional", found=found, expected=expected, write="conditional: false")
    if len(facts.input_shape) not in (1, 3):
        found = f"true, with examples of shape {list(facts.input_shape)}"
        expected = "examples of shape [F] or [C, H, W], or false"
        raise OptionError("conditional", found=found, expected=expected, write="conditional: false")
    return facts.classes
