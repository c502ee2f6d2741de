"""bitting: lock neural networks to the bit-exact, cycle-exact behaviour of one MAC unit."""

__version__ = "0.1.0"
