"""Tests of the consoles."""
