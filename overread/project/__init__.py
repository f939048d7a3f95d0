"""A project: real images, labels that somebody gave, and people who read again.  Nobody knows the truth here."""
