"""The simulator, part by part."""
