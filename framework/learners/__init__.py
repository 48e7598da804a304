"""The learners; importing this package registers them."""

from framework.learners.action_value import ActionValue as ActionValue
from framework.learners.latent import Latent as Latent
from framework.learners.policy_gradient import PolicyGradient as PolicyGradient
from framework.learners.value_iteration import ValueIteration as ValueIteration
