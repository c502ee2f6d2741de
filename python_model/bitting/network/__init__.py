"""Networks to train on the unit's arithmetic: layers, gradients straight through, losses."""
