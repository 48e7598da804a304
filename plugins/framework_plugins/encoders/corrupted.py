"""The encoder that is shown corrupted examples, of a denoising autoencoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework import Encoder, Facts, OptionError, register_encoder


@register_encoder("corrupted")
class CorruptedEncoder(Encoder):
    """q(z|x̃) of another encoder, x̃ a corrupted x: in training, as dropout is; in evaluation x̃ = x.

    `gaussian`: x̃ = x + ε, ε ~ N(0, amount² I). `masking`: each value is set to zero with probability `amount`, and what
    is left is not enlarged. The learner's loss is of the clean x: the model learns to undo the corruption. The label,
    which a conditional model's encoder sees behind the example, stays as it is.

    Args:
        noise: which of the two.
        amount: a standard deviation in the data's unit, above 0; or a share in (0, 1).
        of: the encoder of what is left.
        facts: of the data, [C, …]; None takes all that is seen for data. Supplied by the builder.

    Raises:
        OptionError: the amount is out of range.

    Example:
        >>> from framework_plugins.encoders.mlp import MLPEncoder
        >>> inner = MLPEncoder(input_shape=(1, 8, 8), latent_dim=2, hidden=[32])
        >>> CorruptedEncoder(noise="masking", amount=0.3, of=inner)(torch.zeros(5, 1, 8, 8)).mean.shape
        torch.Size([5, 2])

    Reference: Vincent, Larochelle, Bengio & Manzagol, "Extracting and Composing Robust Features with Denoising
        Autoencoders", 2008, section 2.3, https://doi.org/10.1145/1390156.1390294; with Gaussian noise, Vincent et al.,
        "Stacked Denoising Autoencoders", 2010, section 3.3, https://jmlr.org/papers/v11/vincent10a.html.
    """

    def __init__(
        self, *, noise: Literal["gaussian", "masking"], amount: float, of: Encoder, facts: Facts | None = None
    ) -> None:
        super().__init__()
        if amount <= 0 or (noise == "masking" and amount >= 1):
            expected = "a number above 0" if noise == "gaussian" else "a share in (0, 1)"
            raise OptionError("amount", found=amount, expected=expected)
        self.noise, self.amount, self.of = noise, amount, of
        self.width = None if facts is None else facts.input_shape[0]  # C: what comes behind is a label

    def forward(self, x: Tensor) -> Distribution:
        q: Distribution = self.of(self._corrupted(x) if self.training else x)
        return q

    def _corrupted(self, x: Tensor) -> Tensor:
        width = x.shape[1] if self.width is None else self.width
        data, label = x[:, :width], x[:, width:]
        if self.noise == "gaussian":
            noisy = data + self.amount * torch.randn(data.shape, dtype=x.dtype, device=x.device)
        else:
            noisy = data * (torch.rand(data.shape, dtype=x.dtype, device=x.device) >= self.amount)
        return torch.cat([noisy, label], dim=1)
