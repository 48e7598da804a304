"""Time and memory of −log p(x) by importance sampling, against loops over the images as scripts write them.

    python benchmarks/importance_sampling.py [--samples 5000] [--images 8] [--rounds 7] [--threads 2]
    python benchmarks/importance_sampling.py --whole

The model is that of recipes/vae_mnist.yaml with 16 latents, as it is initialised (the arithmetic is the same as after
training), on MNIST's test images. The formulations take turns on the same images, and the ratio is the median of the
rounds':

- `ours`: `framework.latent_numbers.importance_of`;
- `expanded`: one image at a time, copied K times through encoder and decoder, with torch's Independent(Normal) and
  Independent(Bernoulli), as published evaluation scripts do it;
- `chunks`: the same, a hundred copies at a time;
- `lean`: one image at a time, encoded once; K latents decoded at a time, and a cross-entropy by hand.

`--whole` judges all 10,000 images and prints the seconds and the peak of the process's memory (Linux).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from mnist_arrays import mnist
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal

from framework.build import build, build_data
from framework.data import default_directory
from framework.discovery import load_plugins
from framework.examined import Examined
from framework.latent_numbers import importance_of
from framework.learners.latent import Latent
from framework.schema import load_recipe
from framework.waiting import at_once

RECIPE = Path(__file__).parent.parent / "recipes" / "vae_mnist.yaml"
Formulation = Callable[[Latent, Tensor, int], Tensor]


def ours(learner: Latent, images: Tensor, samples: int) -> Tensor:
    held = Examined(images)
    return importance_of(learner, held, samples=samples, seed=0, track=at_once).log_likelihood


def expanded(learner: Latent, images: Tensor, samples: int) -> Tensor:
    return torch.stack([copied(learner, image, samples).logsumexp(0) - math.log(samples) for image in images])


def chunks(learner: Latent, images: Tensor, samples: int) -> Tensor:
    found = []
    for image in images:
        parts = [copied(learner, image, min(100, samples - first)) for first in range(0, samples, 100)]
        found.append(torch.cat(parts).logsumexp(0) - math.log(samples))
    return torch.stack(found)


def copied(learner: Latent, image: Tensor, samples: int) -> Tensor:
    """Return log w of some samples of one image, which is copied for each."""
    x = image.expand(samples, *image.shape).contiguous()  # [K, 1, 28, 28]
    posterior = learner.encoder(x)
    q = Independent(Normal(posterior.mean, posterior.stddev), 1)
    z = q.rsample()  # [K, D]
    p = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    likelihood = Independent(Bernoulli(logits=learner.decoder(z).logits), 3)
    return likelihood.log_prob(x) + p.log_prob(z) - q.log_prob(z)


def lean(learner: Latent, images: Tensor, samples: int) -> Tensor:
    found = []
    for image in images:
        q = learner.encoder(image.unsqueeze(0))
        noise = torch.randn(samples, learner.latent_dim)
        z = q.mean + q.stddev * noise  # [K, D]
        logits = learner.decoder(z).logits.flatten(1)  # [K, 784]
        x = image.flatten().expand_as(logits)
        fit = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        ratio = -0.5 * z.square().sum(1) + (0.5 * noise.square() + q.log_scale).sum(1)  # log p(z) − log q(z|x)
        found.append((fit + ratio).logsumexp(0) - math.log(samples))
    return torch.stack(found)


FORMULATIONS: dict[str, Formulation] = {"ours": ours, "expanded": expanded, "chunks": chunks, "lean": lean}


def model() -> Latent:
    load_plugins([])
    recipe = load_recipe(RECIPE, [], [])
    learner = build(recipe, build_data(recipe, default_directory({}))).learner
    assert isinstance(learner, Latent)
    return learner.eval()


def compare(learner: Latent, images: Tensor, samples: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in FORMULATIONS}
    for _ in range(rounds + 1):
        for name, formulation in FORMULATIONS.items():
            torch.manual_seed(0)
            begun = time.perf_counter()
            with torch.inference_mode():
                found = formulation(learner, images, samples)
            seconds[name].append(time.perf_counter() - begun)
            if len(seconds[name]) == 1:  # a warm-up
                print(f"{name:<10} −log p(x) {-float(found.mean()):.3f} nats")
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times[1:], seconds["ours"][1:], strict=True)]
        each = statistics.median(times[1:]) / len(images)
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})" if name != "ours" else ""
        print(f"{name:<10} {1e3 * each:8.1f} ms an image, × {statistics.median(ratios):.2f} {spread}")


def whole(learner: Latent, images: Tensor, samples: int) -> None:
    begun = time.perf_counter()
    found = ours(learner, images, samples)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    minutes = (time.perf_counter() - begun) / 60
    print(f"{len(images):,} images: {-float(found.mean()):.3f} nats, {minutes:.1f} minutes, {peak:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5_000, help="K")
    parser.add_argument("--images", type=int, default=8, help="how many are timed")
    parser.add_argument("--rounds", type=int, default=7, help="how often")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--whole", action="store_true", help="judge all images, for time and memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = mnist()[1].view(-1, 1, 28, 28)  # [10000, 1, 28, 28]
    learner = model()
    print(f"torch {torch.__version__}, {options.threads} threads, K = {options.samples:,}")
    if options.whole:
        whole(learner, images, options.samples)
    else:
        compare(learner, images[: options.images], options.samples, options.rounds)


if __name__ == "__main__":
    main()
