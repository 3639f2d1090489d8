"""Calls, class by class: what each writes, in which order, and how it fails."""
