"""Tests of the made-up statistics."""
