"""What must travel, and why: reads a trace, resolves the closure, writes a bundle (docs/bundle-format.md)."""
