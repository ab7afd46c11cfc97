"""Training with Lightning: the `fit` command and its callbacks."""
