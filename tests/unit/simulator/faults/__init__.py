"""Faults of the simulator."""
