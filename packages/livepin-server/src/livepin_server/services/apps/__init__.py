"""Apps: by what their evidence is known, and which releases of them there are."""
