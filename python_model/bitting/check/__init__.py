"""Claims held against the RTL: verification, the first divergence, the table of locks."""
