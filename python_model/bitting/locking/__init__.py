"""Tying a program to a device: fingerprint x transform. Knows programs and devices, no torch and no RTL."""
