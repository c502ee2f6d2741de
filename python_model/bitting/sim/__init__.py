"""Simulation of the exported Verilog: tools, builds, the native harness, cocotb."""
