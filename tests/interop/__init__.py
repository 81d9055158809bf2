"""Every destination against each independent server that a package registry has: `make interop`."""
