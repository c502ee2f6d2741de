"""A key that no one stores: ring oscillators that are measured, the bits that their differences give, and what those are worth."""
