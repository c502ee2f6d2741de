"""The engine in Amaranth, what surrounds it on a board, and its export to Verilog. Knows `bitting.unit`, but no program."""
