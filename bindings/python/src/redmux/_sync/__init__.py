"""The face of redmux without await, which is in `redmux.sync`: a file each for the client and for what it makes."""
