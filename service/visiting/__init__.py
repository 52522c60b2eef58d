"""Who visits what share of the households that are theirs, and what checks of visits found."""
