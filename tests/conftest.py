"""Makes the modules beside this file importable from every test (pytest puts the folder of a conftest on the path)."""
