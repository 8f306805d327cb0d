"""What a program's dynamic loader would load, found without running anything: ld.so(8) for glibc, and musl's rules."""
