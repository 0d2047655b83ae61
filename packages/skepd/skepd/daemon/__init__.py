"""skepd: the engine, its API and its watch, as one process."""
