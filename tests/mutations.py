"""Faults that are put into the formulas of latent-variable models, one at a time: the tests must catch every one.

Each is what somebody has written in a public implementation, or could: a half that is missing, a scale for a variance,
a mean for a sum, a sign, a gradient that is not held back, a diagonal that is left in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A fault.

    Args:
        name: what is wrong, in words.
        path: the file that it is put into, from the top of the repository.
        right: a text that is there exactly once.
        wrong: what takes its place.
        tests: the file, or the one test, that has to fail.
    """

    name: str
    path: str
    right: str
    wrong: str
    tests: str


_DISTRIBUTIONS, _OF_DISTRIBUTIONS = "framework/distributions.py", "tests/framework/test_distributions.py"
_LATENT, _OF_LATENT = "framework/learners/latent.py", "tests/framework/learners/test_latent.py"
_DRAWS = "framework/latent_draws.py"
_BOUNDS, _OF_BOUNDS = "framework/bounds.py", "tests/framework/test_bounds.py"
_OBJECTIVE, _OF_OBJECTIVE = "framework/objective.py", "tests/framework/test_objective.py"
_MMD, _OF_MMD = "framework/mmd_of_samples.py", "tests/plugins/divergences/test_mmd.py"
_IMPORTANCE, _OF_IMPORTANCE = "framework/importance.py", "tests/framework/test_importance.py"
_INFORMATION, _OF_INFORMATION = "framework/information.py", "tests/framework/test_information.py"
_DISCRETE, _OF_DISCRETE = "framework/discrete.py", "tests/framework/test_discrete.py"
_MIXTURE, _OF_MIXTURE = "framework/equal_mixture.py", "tests/framework/test_equal_mixture.py"
_ESTIMATORS, _OF_ESTIMATORS = "framework/estimators.py", "tests/framework/test_estimators.py"
_DIVERGENCES, _OF_DIVERGENCES = "plugins/framework_plugins/divergences", "tests/plugins/divergences"

MUTATIONS = [
    Mutation(
        "KL of Gaussians without its half",
        _DISTRIBUTIONS,
        "return (q.mean.square() + doubled.exp() - doubled - 1).sum(-1).mul(0.5)",
        "return (q.mean.square() + doubled.exp() - doubled - 1).sum(-1)",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "KL of Gaussians with σ for σ²",
        _DISTRIBUTIONS,
        "return (q.mean.square() + doubled.exp() - doubled - 1)",
        "return (q.mean.square() + q.log_scale.exp() - doubled - 1)",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "KL averaged over the latent dimensions",
        _DISTRIBUTIONS,
        "return (q.mean.square() + doubled.exp() - doubled - 1).sum(-1)",
        "return (q.mean.square() + doubled.exp() - doubled - 1).mean(-1)",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "KL between Gaussians the other way round",
        _DISTRIBUTIONS,
        "ratio = 2 * (q.log_scale - p.log_scale)",
        "ratio = 2 * (p.log_scale - q.log_scale)",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "the Gaussian density without its normaliser",
        _DISTRIBUTIONS,
        "standardised.square().mul(-0.5) - self.log_scale - HALF_LOG_TWO_PI",
        "standardised.square().mul(-0.5) - self.log_scale",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "a reparametrised draw with the variance for the scale",
        _DISTRIBUTIONS,
        "torch.addcmul(self._mean, self.log_scale.exp(), noise)",
        "torch.addcmul(self._mean, (2 * self.log_scale).exp(), noise)",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "the Bernoulli likelihood averaged over pixels",
        _DISTRIBUTIONS,
        "return _sum_event(cross_entropy, len(self.event_shape)).neg()",
        "return _sum_event(cross_entropy, len(self.event_shape)).neg() / cross_entropy[0].numel()",
        _OF_DISTRIBUTIONS,
    ),
    Mutation(
        "log p(x|z) for −log p(x|z): a likelihood that is made smaller",
        _LATENT,
        "cost = -likelihood.log_prob(x)",
        "cost = likelihood.log_prob(x)",
        _OF_LATENT,
    ),
    Mutation(
        "the ELBO with the sign of the loss",
        _LATENT,
        'metrics["elbo"] = -(reconstruction + kl)',
        'metrics["elbo"] = reconstruction + kl',
        _OF_LATENT,
    ),
    Mutation(
        "the ELBO with the objective's weights",
        _LATENT,
        'metrics["elbo"] = -(reconstruction + kl)',
        'metrics["elbo"] = -total',
        _OF_LATENT,
    ),
    Mutation(
        "models judged by relaxed draws",
        _DRAWS,
        "        if counters is None:\n            return q.sample()\n",
        "        if counters is None:\n            return relaxed(q, 0.4)\n",
        "tests/framework/learners/test_latent_estimators.py::test_models_are_judged_by_true_draws",
    ),
    Mutation(
        "a baseline with the sign of a cost",
        _DRAWS,
        "compared = -baseline(samples).detach()",
        "compared = baseline(samples).detach()",
        "tests/framework/learners/test_latent_estimators.py::test_baselines_lower_the_variance",
    ),
    Mutation(
        "IWAE as the mean of the logarithms",
        _BOUNDS,
        "return log_weights.logsumexp(0) - math.log(len(log_weights))",
        "return log_weights.mean(0)",
        _OF_BOUNDS,
    ),
    Mutation(
        "IWAE as the logarithm of a sum",
        _BOUNDS,
        "return log_weights.logsumexp(0) - math.log(len(log_weights))",
        "return log_weights.logsumexp(0)",
        _OF_BOUNDS,
    ),
    Mutation(
        "IWAE's weights not held constant",
        _BOUNDS,
        "weights = log_weights.detach().softmax(0)",
        "weights = log_weights.softmax(0)",
        _OF_BOUNDS,
    ),
    Mutation(
        "the doubly reparametrised gradient with its weights once",
        _BOUNDS,
        "lambda gradient: gradient * weights.T.unsqueeze(-1).to(gradient.dtype)",
        "lambda gradient: gradient",
        _OF_BOUNDS,
    ),
    Mutation(
        "the capacity's distance of each example and not of the mean",
        _OBJECTIVE,
        """                value = value.mean()
                if leaf.capacity is not None:""",
        """                value = (value - (leaf.capacity or 0)).abs().mean() + (leaf.capacity or 0)
                if leaf.capacity is not None:""",
        _OF_OBJECTIVE,
    ),
    Mutation(
        "validation with the weights of the first step",
        _OBJECTIVE,
        "return final_value(number) if counters is None else value_at(number, counters)",
        "return value_at(number, counters or Counters())",
        _OF_OBJECTIVE,
    ),
    Mutation(
        "the critic's loss reaches the encoder",
        _OBJECTIVE,
        "divergence.critic_loss(q, p, z.detach())",
        "divergence.critic_loss(q, p, z)",
        _OF_OBJECTIVE,
    ),
    Mutation(
        "the encoder's step moves the critic",
        _OBJECTIVE,
        "        parameter.requires_grad_(False)\n    try:",
        "        parameter.requires_grad_(True)\n    try:",
        _OF_OBJECTIVE,
    ),
    Mutation(
        "negative weights let through",
        _OBJECTIVE,
        "return not leaf.divergence.rewardable and lowest(leaf.weight) < 0",
        "return False",
        _OF_OBJECTIVE,
    ),
    Mutation(
        "warm-up counted in epochs",
        "plugins/framework_plugins/schedules/ramp.py",
        "_between(self.start, self.final, counters.optimizer_steps / self.steps)",
        "_between(self.start, self.final, counters.epoch / self.steps)",
        "tests/plugins/schedules",
    ),
    Mutation(
        "a posterior's scale from half of what the layer says",
        "plugins/framework_plugins/encoders/posterior.py",
        'raw if self.scale == "exp" else',
        '0.5 * raw if self.scale == "exp" else',
        "tests/plugins/encoders/test_posterior.py",
    ),
    Mutation(
        "InfoVAE's second weight without α",
        f"{_DIVERGENCES}/infovae.py",
        "weight = alpha + lambda_ - 1",
        "weight = lambda_ - 1",
        f"{_OF_DIVERGENCES}/test_infovae.py",
    ),
    Mutation(
        "the unbiased MMD divided by n²",
        _MMD,
        'within = [1 / (n * (n - 1)) if statistic == "u" else 1 / n**2 for n in (len(z), len(w))]',
        "within = [1 / n**2 for n in (len(z), len(w))]",
        _OF_MMD,
    ),
    Mutation(
        "the unbiased MMD with the diagonal left in",
        _MMD,
        "squared.fill_diagonal_(torch.inf)",
        "squared.fill_diagonal_(0.0)",
        _OF_MMD,
    ),
    Mutation(
        "MMD with the cross term once",
        _MMD,
        "value = value + 2 * across * _add_pairs",
        "value = value + across * _add_pairs",
        _OF_MMD,
    ),
    Mutation(
        "mutual information without the mixture's 1/B",
        f"{_DIVERGENCES}/mutual_information.py",
        "return (own - (pairs.logsumexp(1) - math.log(count))).mean()",
        "return (own - pairs.logsumexp(1)).mean()",
        f"{_OF_DIVERGENCES}/test_mutual_information.py",
    ),
    Mutation(
        "mutual information over the wrong axis",
        f"{_DIVERGENCES}/mutual_information.py",
        "return (own - (pairs.logsumexp(1) - math.log(count))).mean()",
        "return (own - (pairs.logsumexp(0) - math.log(count))).mean()",
        f"{_OF_DIVERGENCES}/test_mutual_information.py",
    ),
    Mutation(
        "stratified weights in one column and not on the diagonal",
        f"{_DIVERGENCES}/total_correlation.py",
        "weights[rows, rows] = 1 / dataset_size",
        "weights[rows, 0] = 1 / dataset_size",
        f"{_OF_DIVERGENCES}/test_total_correlation.py",
    ),
    Mutation(
        "log-weights added before the sum over dimensions",
        f"{_DIVERGENCES}/total_correlation.py",
        "joint = (pairs.sum(-1) + log_weights).logsumexp(1)",
        "joint = (pairs + log_weights.unsqueeze(-1)).sum(-1).logsumexp(1)",
        f"{_OF_DIVERGENCES}/test_total_correlation.py",
    ),
    Mutation(
        "DIP's covariance with its diagonal among the off-diagonals",
        f"{_DIVERGENCES}/covariance.py",
        "off = covariance - on.diag()",
        "off = covariance",
        f"{_OF_DIVERGENCES}/test_covariance.py",
    ),
    Mutation(
        "sliced Wasserstein of points that are not sorted",
        f"{_DIVERGENCES}/sliced_wasserstein.py",
        "((theta @ points.T).sort(1).values for points in (z, w))",
        "(theta @ points.T for points in (z, w))",
        f"{_OF_DIVERGENCES}/test_sliced_wasserstein.py",
    ),
    Mutation(
        "the Sinkhorn divergence without its debiasing",
        f"{_DIVERGENCES}/sinkhorn.py",
        "across - (within_z + within_w) / 2",
        "across",
        f"{_OF_DIVERGENCES}/test_sinkhorn.py",
    ),
    Mutation(
        "Jensen–Shannon with the ratio the wrong way round",
        f"{_DIVERGENCES}/jensen_shannon.py",
        "(F.softplus(at_z).mean() + F.softplus(-at_w).mean())",
        "(F.softplus(-at_z).mean() + F.softplus(at_w).mean())",
        f"{_OF_DIVERGENCES}/test_jensen_shannon.py",
    ),
    Mutation(
        "the encoder's adversarial loss of the wrong class",
        f"{_DIVERGENCES}/adversarial.py",
        "return F.softplus(-self.logit(p, z)).mean()",
        "return F.softplus(self.logit(p, z)).mean()",
        f"{_OF_DIVERGENCES}/test_adversarial.py",
    ),
    Mutation(
        "VampPrior's mixture without its 1/K",
        _MIXTURE,
        "constant = constant - math.log(len(mean))",
        "pass",
        _OF_MIXTURE,
    ),
    Mutation(
        "VampPrior's components without their 2π",
        _MIXTURE,
        " - HALF_LOG_TWO_PI * mean.shape[-1]  # [K]",
        "  # [K]",
        _OF_MIXTURE,
    ),
    Mutation(
        "importance weights without the prior",
        _IMPORTANCE,
        "log_weights = fit + p.log_prob(flat).view(fit.shape) - q.log_prob(z)",
        "log_weights = fit - q.log_prob(z)",
        _OF_IMPORTANCE,
    ),
    Mutation(
        "importance weights with the posterior's sign turned",
        _IMPORTANCE,
        "log_weights = fit + p.log_prob(flat).view(fit.shape) - q.log_prob(z)",
        "log_weights = fit + p.log_prob(flat).view(fit.shape) + q.log_prob(z)",
        _OF_IMPORTANCE,
    ),
    Mutation(
        "the likelihood as a sum of weights and not their mean",
        _IMPORTANCE,
        "self.peak + self.first.log() - math.log(count)",
        "self.peak + self.first.log()",
        _OF_IMPORTANCE,
    ),
    Mutation(
        "a streamed sum that is not rescaled",
        _IMPORTANCE,
        "self.first = self.first * rescale + relative.sum(0)",
        "self.first = self.first + relative.sum(0)",
        _OF_IMPORTANCE,
    ),
    Mutation(
        "the full mixture without its 1/N",
        _INFORMATION,
        "parts.append(total - math.log(count))",
        "parts.append(total)",
        _OF_INFORMATION,
    ),
    Mutation(
        "the leave-one-out bound with the one left in",
        _INFORMATION,
        "upper.append((own - others.logsumexp(1)).mean() + math.log(size - 1))",
        "upper.append((own - pairs.logsumexp(1)).mean() + math.log(size - 1))",
        _OF_INFORMATION,
    ),
    Mutation(
        "active units by the spread of samples and not of means",
        "framework/latent_health.py",
        "moved = q.mean.var(0) > ACTIVE",
        "moved = q.sample().var(0) > ACTIVE",
        "tests/framework/test_latent_health.py",
    ),
    Mutation(
        "one-hot divergence averaged over variables",
        _DISCRETE,
        "return (q.logits.exp() * (q.logits - p.logits)).flatten(-2).sum(-1)",
        "return (q.logits.exp() * (q.logits - p.logits)).sum(-1).mean(-1)",
        _OF_DISCRETE,
    ),
    Mutation(
        "Gumbel noise with the wrong sign",
        _DISCRETE,
        "return -(-_open_uniform(shape, like).log()).log()",
        "return (-_open_uniform(shape, like).log()).log()",
        _OF_DISCRETE,
    ),
    Mutation(
        "an autoregressive network without its direct connections",
        "framework/autoregressive.py",
        "return found + F.linear(h, from_hidden) if hidden else found",
        "return condition + F.linear(h, from_hidden) if hidden else found",
        "tests/framework/test_autoregressive.py",
    ),
    Mutation(
        "an element sees itself",
        "framework/autoregressive.py",
        "masks.append(inputs[:, None] > (",
        "masks.append(inputs[:, None] >= (",
        "tests/framework/test_autoregressive.py",
    ),
    Mutation(
        "the score function's factor not held constant",
        _ESTIMATORS,
        "return (weight * (cost - baseline)).detach() * log_prob",
        "return (weight * (cost - baseline)) * log_prob",
        _OF_ESTIMATORS,
    ),
    Mutation(
        "leave-one-out with the sample's own cost",
        _ESTIMATORS,
        "return (cost.sum(0) - cost) / (len(cost) - 1)",
        "return cost.mean(0).expand_as(cost)",
        _OF_ESTIMATORS,
    ),
]

# No fault, and nothing may fail: otherwise it is not the faults that the tests above notice.
UNCHANGED = Mutation("nothing", _MIXTURE, "logsumexp(-1)", "logsumexp(-1)", _OF_MIXTURE)
