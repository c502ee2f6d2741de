"""The engine: packets in, tiles through the lanes, results out."""
