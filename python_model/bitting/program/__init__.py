"""Programs of gather layers, and the packets that carry them. Knows the unit and numpy."""
