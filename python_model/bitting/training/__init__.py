"""The training loop, its recipes and reference architectures, and training over several processes."""
