"""RFB (RFC 6143): one connection to a VMM's screen, a picture kept of it, and any number of viewers."""
