"""Measures what mirrord costs, side by side with what it is compared to; `make bench` runs it."""
