"""Builds the guest image skep-small from Debian's own packages; see images/skep-small/README.md."""
