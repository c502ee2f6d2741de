"""What fits the exported engine to pins, boards and buses. It is an instance there, so that a netlist can take its place."""
