"""Long runs, by `make soak` and `make soak-steps`: not collected by pytest."""
