"""Tying a program to a device. Knows programs and devices, no torch and no RTL."""

from bitting.lock.transform import LockDescription, lock, unlock

__all__ = ["LockDescription", "lock", "unlock"]
