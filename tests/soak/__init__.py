"""An hour of churn on real guests: is the map right all the time, and does nothing grow? `make soak`."""
