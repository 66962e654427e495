"""What runs is to be otherwise."""
