"""Where the vectors come from: fixed keys, documents made by hand, cases by rule."""
