"""What pods and the machine use, as documents and as metrics. Pure, but for the routes and nsrun's own process."""
