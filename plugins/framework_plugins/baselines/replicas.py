"""What baselines with a state for each run have in common: the K dimension of their samples is the run."""

from __future__ import annotations

from framework import OptionError, Samples


def check_replicas(replicas: int) -> None:
    """Check a number of runs.

    Raises:
        OptionError: it is below 1.
    """
    if replicas < 1:
        raise OptionError("replicas", found=replicas, expected="1 or more")


def check_runs(samples: Samples, replicas: int) -> None:
    """Check that samples are of as many runs as there are replicas; with one replica all samples are of its run.

    Raises:
        OptionError: K is not the number of replicas.
    """
    found = len(samples.returns)
    if replicas > 1 and found != replicas:
        raise OptionError(
            "replicas",
            found=f"{replicas}, and samples of {found}",
            expected="samples [K, B] whose K is the run",
            write=f"as many environments as replicas: {replicas}",
        )
