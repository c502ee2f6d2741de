"""From a root secret to unlocked codes: the AES core, the vault that holds the keys, and the transform of each code."""
