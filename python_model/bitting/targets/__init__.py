"""Unauthorised hardware: number formats, waves, prunings and accumulators that a thief may run a clear model on."""
