"""The learners; importing this package registers them."""

from framework.learners.latent import Latent as Latent
