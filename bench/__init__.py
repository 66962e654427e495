"""Side by side with the peers that are installed: ``./dev bench`` prints medians, ratios and the budget beside each."""
