"""What there is under which path, one module for each resource; the Prometheus series and their bounds are here too."""
