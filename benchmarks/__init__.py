"""What Rowen costs, as ratios to a baseline measured in the same run. See docs/benchmarks.md."""
