"""The asyncio face of redmux, which is in `redmux`: a file each for the client and for what it makes."""
