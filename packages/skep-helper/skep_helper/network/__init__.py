"""The network part as far as it is the same on every platform: no calls of a kernel's own."""
