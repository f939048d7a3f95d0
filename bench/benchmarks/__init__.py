"""One file a benchmark; the file name is its name.  Modules load only what they measure."""
