"""A key that no one stores: what ring oscillators give, what that is worth, and how a key is made of it again and again."""
