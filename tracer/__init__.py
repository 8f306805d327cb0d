"""What the job touched: runs a command once and writes a trace (docs/trace-format.md)."""
