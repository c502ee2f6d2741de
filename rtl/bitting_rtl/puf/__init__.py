"""From noisy bits to a word that is the same every time: error correction for keys that no one stores."""
