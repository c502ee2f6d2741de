"""Data sets as integer activations."""
