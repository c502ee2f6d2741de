"""A key that no one stores: what silicon gives, and how a key is made of it again and again. Knows no torch and no RTL."""
