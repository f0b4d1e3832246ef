//! The command from its arguments to its exit code.
