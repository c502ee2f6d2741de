"""Files that last: models (secret) and artefacts (ship), and the owner's signature."""
