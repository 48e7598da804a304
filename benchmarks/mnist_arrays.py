"""MNIST as the recipes see it, as two plain tensors, for the hand-written loops."""

import os

from torch import Tensor

from framework.data import default_directory
from framework.randomness import Keys
from framework_plugins.data.mnist import MNIST


def mnist() -> tuple[Tensor, Tensor]:
    """Return the training images, [N, 784] uint8, and the binarised test images, [N, 784] float32 of zeros and ones."""
    directory = default_directory(dict(os.environ))
    dataset = MNIST(batch_size=128, data_directory=directory).load()
    test = dataset.test.examples(slice(None), Keys(0, "test", 0))
    return dataset.train.inputs.flatten(1), test.flatten(1)
