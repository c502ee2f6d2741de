"""Exact emulation of programs in batches: a native kernel, and torch where there is none. Never imports RTL."""
