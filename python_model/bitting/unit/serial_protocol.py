"""What host and board say to each other over a serial line. Imports nothing, so the RTL may use it.

Bytes, eight bits, no parity, one stop bit. Words of `bitting.unit.protocol` go lowest byte first. ESCAPE begins two bytes:

to the board    ESCAPE STUFFED is a data byte ESCAPE; ESCAPE RESET resets the engine and all that waits on the board
to the host     ESCAPE STUFFED the same; ESCAPE RESET: the reset has been done, what follows is of the engine after it;
                ESCAPE CREDIT: the engine has taken another CREDIT_BYTES data bytes

The host has at most BUFFER_BYTES data bytes under way that the board has not given credit for: none is ever lost to a busy
engine. A board takes ESCAPE ESCAPE as one, so that ESCAPE RESET works whatever was before.
"""

ESCAPE = 0xDB
STUFFED = 0xDC
CREDIT = 0xDD
RESET = 0xDE

BUFFER_BYTES = 512
CREDIT_BYTES = 64
BAUD = 1_000_000
