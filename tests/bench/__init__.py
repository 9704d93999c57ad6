"""`make bench`: measurements as ratios within one run, against aims; see docs/performance.md."""
