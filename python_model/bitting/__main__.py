"""`python -m bitting` is the command `bitting`; `torchrun -m bitting train ...` needs it."""

from bitting.cli import main

main()
