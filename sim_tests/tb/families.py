"""The named families with the vault `aes`, for tests of what the paper's locks, or clear programs closed by CRCs, do."""

import dataclasses

from bitting.unit.spec import PRESETS, VaultKind

AES = {name: dataclasses.replace(spec, vault=VaultKind.AES) for name, spec in PRESETS.items()}
