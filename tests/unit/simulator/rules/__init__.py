"""Rules of the simulator."""
