"""One incident for a cause: what is wrong for certain, who has seen it, and when it is told of."""
