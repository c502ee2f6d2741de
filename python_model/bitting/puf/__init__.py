"""A key that no one stores: what measured ring oscillators give, how often they err, and what they are worth."""
