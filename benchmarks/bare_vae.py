"""A VAE on MNIST as one writes it by hand, with nothing of the framework but its data: the measure of the recipes.

python benchmarks/bare_vae.py --seed 0 --epochs 20
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mnist_arrays import mnist
from torch import Tensor, nn

Regularizer = Callable[[Tensor], Tensor]  # z [B, D] → a number added to the negative ELBO


class VAE(nn.Module):
    def __init__(self, pixels: int = 784, hidden: int = 512, latent: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the negative ELBO, a mean over the batch in nats, and z."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum()
        return (reconstruction + kl) / len(x), z


def train_step(model: VAE, optimizer: torch.optim.Optimizer, x: Tensor, regularizer: Regularizer | None = None) -> None:
    loss, z = model(x)
    if regularizer is not None:
        loss = loss + regularizer(z)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def binarize(images: Tensor) -> Tensor:
    scaled = images.float() / 255
    return (torch.rand_like(scaled) < scaled).float()  # a fifth of the time of torch.bernoulli


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--epochs", type=int, default=20)
    options = arguments.parse_args()
    train, test = mnist()  # [50000, 784] uint8; [10000, 784] of zeros and ones, the bits that the recipes are judged on
    torch.manual_seed(options.seed)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for epoch in range(1, options.epochs + 1):
        for rows in torch.randperm(len(train))[: len(train) // 128 * 128].view(-1, 128):
            train_step(model, optimizer, binarize(train[rows]))
        with torch.no_grad():
            elbo = -sum(float(model(x)[0]) * len(x) for x in test.split(128)) / len(test)
        print(f"epoch {epoch} test ELBO {elbo:.2f} nats", flush=True)


if __name__ == "__main__":
    main()
