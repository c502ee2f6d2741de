"""From the engine's Verilog to a bitstream with open tools, and what it costs."""
