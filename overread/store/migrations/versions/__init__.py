"""One file a step; its name is its revision."""
