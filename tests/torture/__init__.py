"""Long runs against real processes: `make torture`. The tests run a little of each."""
