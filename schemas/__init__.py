"""The data: rows, targets, and their Arrow and JSON schemas. Imports nothing else of Quire."""
