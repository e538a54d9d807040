"""One verb a module: takes a Project and Options, returns a frozen Result, prints nothing."""
