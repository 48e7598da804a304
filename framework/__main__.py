"""`python -m framework` is `fw`: torchrun and the ranks of a run are started so."""

from framework.cli import main

main()
