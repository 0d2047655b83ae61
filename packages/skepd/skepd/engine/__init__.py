"""The engine of one host: definitions, operations, readings and events behind one interface (contract.Engine)."""
