"""Attacks on our own locks. Know emulators and artefacts, no RTL."""
