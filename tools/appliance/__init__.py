"""`make up`, `make down`, `make purge`: Skep on this Debian or Ubuntu machine, from this checkout."""
