"""The package for a hardware engineer: Verilog, registers, constraints, a testbench with golden words, a host."""
