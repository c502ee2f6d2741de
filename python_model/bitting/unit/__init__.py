"""The family of units and its arithmetic: pure integers. Knows neither numpy, torch nor Amaranth."""
